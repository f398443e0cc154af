"""What a request asks of a local model: messages as texts, limits, and how to choose tokens. Pure.

`refusal` says beforehand, for a router, why a local model cannot take a request; `asked` translates one that it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from fastclient.errors import BadRequest, LocalUnavailable
from fastclient.local.grammar import ANY_JSON, Inexpressible, of_choices, of_schema
from fastclient.types import Message, Request

__all__ = ["Ask", "asked", "refusal", "texts_of"]

_ABSENT: tuple[object, ...] = (None, [], (), {}, "")
_BEYOND = ("tools", "functions", "audio", "logit_bias", "top_logprobs", "web_search_options")
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MOST_STOPS, _LONGEST_STOP = 16, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request in a local model's words: plain values, so that it can be sent to another process.

    `limit` is the most tokens to write (None: what fits), `grammar` is in GBNF. A `temperature` of 0 is the likeliest
    token every time. With `probabilities` the log probability of each token is told.
    """

    messages: tuple[tuple[str, str], ...] = field(repr=False)
    limit: int | None = None
    stops: tuple[str, ...] = field(default=(), repr=False)
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 40
    min_p: float = 0.05
    seed: int | None = None
    repeat: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    grammar: str | None = field(default=None, repr=False)
    probabilities: bool = False

    @property
    def penalised(self) -> bool:
        return self.repeat != 1.0 or self.presence != 0.0 or self.frequency != 0.0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is all that is asked for."""
        return self.temperature <= 0.0 and not self.penalised


def refusal(request: Request) -> str | None:
    """Why a local model cannot take this request; None if it can. Says nothing of sizes."""
    params, original = request.params, request.original
    if original is not None and original.form.provider != "openai":
        return "a local model is asked in the words of Chat Completions"
    for name in _BEYOND:
        if name in params and params[name] not in _ABSENT:
            return f"{name} cannot be given to a local model"
    if params.get("n") not in (None, 1):
        return "a local model gives one answer"
    if params.get("modalities") not in (None, ["text"], ("text",)):
        return "a local model writes text only"
    for message in request.messages:
        if message.get("role") not in _ROLES or message.get("tool_calls") or message.get("function_call"):
            return "a conversation with tools cannot be given to a local model"
        content = message.get("content")
        if isinstance(content, (list, tuple)) and not all(map(_is_text, content)):
            return "a local model reads text only"
    return None


def asked(request: Request) -> Ask:
    """The request in a local model's words. Raises LocalUnavailable for what none can do, BadRequest for nonsense."""
    problem = refusal(request)
    if problem is not None:
        raise LocalUnavailable(problem)
    params: Mapping[str, Any] = request.params
    messages = tuple((_ROLES[str(message["role"])], _text(message)) for message in request.messages)
    if not params:
        return Ask(messages=messages)
    limit = params.get("max_completion_tokens", params.get("max_tokens"))
    if limit is not None and not _whole(limit, 1):
        raise _bad("max_tokens", "must be a whole number above 0")
    seed = params.get("seed")
    if seed is not None and not _whole(seed, None):
        raise _bad("seed", "must be a whole number")
    top_k = params.get("top_k", 40)  # where OpenAI has no word for it: llama.cpp's own, which suit small models
    if not _whole(top_k, -1):
        raise _bad("top_k", "must be a whole number")
    return Ask(
        messages=messages,
        limit=limit,
        stops=_stops(params.get("stop")),
        temperature=_number(params, "temperature", 0.0, 0.0, 100.0),
        top_p=_number(params, "top_p", 1.0, 0.0, 1.0),
        top_k=max(0, top_k),
        min_p=_number(params, "min_p", 0.05, 0.0, 1.0),
        seed=None if seed is None else seed & 0xFFFFFFFF,
        repeat=_number(params, "repeat_penalty", 1.0, 0.01, 10.0),
        presence=_number(params, "presence_penalty", 0.0, -2.0, 2.0),
        frequency=_number(params, "frequency_penalty", 0.0, -2.0, 2.0),
        grammar=_grammar(params),
        probabilities=params.get("logprobs") is True,
    )


def texts_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """What the messages say, to see how two conversations begin."""
    return tuple([content if isinstance(content := each.get("content"), str) else _text(each) for each in messages])


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") in ("text", "input_text") and isinstance(part["text"], str)


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        return "".join(part["text"] for part in content if _is_text(part))
    return content if isinstance(content, str) else ""


def _whole(value: object, least: int | None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)


def _bad(name: str, problem: str) -> BadRequest:
    return BadRequest(f"{name}: {problem}", provider="local", status_code=400)


def _number(params: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = params.get(name)
    if value is None:
        return default
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not isfinite(value)
        or not low <= value <= high
    ):
        raise _bad(name, f"must be a number from {low:g} to {high:g}")
    return float(value)


def _stops(value: object) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(stops, (list, tuple)) or len(stops) > _MOST_STOPS:
        raise _bad("stop", f"must be a text, or up to {_MOST_STOPS} of them")
    if not all(isinstance(stop, str) and len(stop) <= _LONGEST_STOP for stop in stops):
        raise _bad("stop", f"must be texts of up to {_LONGEST_STOP} characters")
    return tuple(stop for stop in stops if stop)


def _grammar(params: Mapping[str, Any]) -> str | None:
    """What the answer has to look like, by whichever name that was asked for."""
    form, choices, grammar = params.get("response_format"), params.get("guided_choice"), params.get("grammar")
    if sum(each is not None for each in (form if form != {"type": "text"} else None, choices, grammar)) > 1:
        raise _bad("response_format", "guided_choice and grammar exclude each other")
    if grammar is not None:
        if not isinstance(grammar, str) or not grammar or "\0" in grammar:
            raise _bad("grammar", "must be a text in GBNF")
        return grammar
    try:
        if choices is not None:
            return of_choices(choices if isinstance(choices, (list, tuple)) else ())
        return None if form is None else _form(form)
    except Inexpressible as error:
        raise _bad("response_format" if choices is None else "guided_choice", str(error)) from None


def _form(form: object) -> str | None:
    if not isinstance(form, Mapping):
        raise _bad("response_format", "must be a mapping")
    kind = form.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = form.get("schema")  # llama.cpp's own way to say it
        return ANY_JSON if schema is None else of_schema(schema)
    if kind == "json_schema":
        inner = form.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise _bad("response_format", "json_schema holds no schema")
        return of_schema(inner["schema"])
    raise _bad("response_format", "must be of type text, json_object or json_schema")
