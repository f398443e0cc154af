"""Chat messages as the text a model was trained on: its own template, in jinja2's immutable sandbox, compiled once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from fastclient.errors import BadRequest, LocalUnavailable

__all__ = ["Template", "specials"]

_SEAM = "\ufdd0"  # stands in no text: Unicode keeps it for uses like this one


class Template:
    """The template of one model. `tokens` are texts that it may name, such as bos_token.

    `controls` finds control tokens in a message: they are cut in two there, so that they do not become any.
    """

    def __init__(self, source: str, tokens: Mapping[str, str], controls: re.Pattern[str] | None) -> None:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals |= {**tokens, "raise_exception": _refuse, "strftime_now": _now}
        self._controls = controls
        self._errors = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise LocalUnavailable(f"the model's chat template is broken ({type(error).__name__})") from None

    def pieces(self, messages: Sequence[Mapping[str, str]]) -> list[str]:
        """The text of a prompt, cut where it must not be read as one."""
        told = [dict(message) for message in messages]
        if self._controls is not None:
            for message in told:
                if self._controls.search(message["content"]):
                    message["content"] = self._controls.sub(_apart, message["content"])
        try:
            text = self._template.render(messages=told, add_generation_prompt=True)
        except self._errors as error:
            problem = f"the model's chat template refuses these messages ({type(error).__name__})"
            raise BadRequest(problem, provider="local", status_code=400) from None
        return [piece for piece in text.split(_SEAM) if piece]


def specials(texts: Sequence[str]) -> re.Pattern[str] | None:
    """What finds any of these texts; None if there are none."""
    known = sorted({text for text in texts if len(text) > 1}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, known))) if known else None


def _apart(found: re.Match[str]) -> str:
    text = found.group()
    return text[:1] + _SEAM + text[1:]


def _refuse(_: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError  # what it says may quote a message


def _tojson(value: object, indent: int | None = None, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
