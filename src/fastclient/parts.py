"""The parts of a prompt, for callers who say what each is: then it can be laid out so that providers cache it.

    client.chat([fc.static(RULES), fc.documents(found), fc.history(turns), fc.user(question), fc.volatile(clock)])

Static parts go first and volatile ones last; everything else stays in the order given. Text that is not marked is
never moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastclient.checks import one_of
from fastclient.errors import ConfigError
from fastclient.types import Documents, Message, Shape

__all__ = ["Part", "documents", "history", "laid_out", "static", "tools", "untagged", "user", "volatile"]

Document = str | Mapping[str, object]
Kind = Literal["static", "volatile", "documents", "history", "user", "tools"]
Order = Literal["given", "popular"]

_OPEN, _CLOSE = "<context>\n", "\n</context>"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a prompt, and what kind of part it is. Made by the functions of this module."""

    kind: Kind
    items: tuple[Mapping[str, object], ...] = field(repr=False)
    order: Order = "given"


def static(text: str) -> Part:
    """Instructions that are the same in every request: a system message at the very front."""
    return Part("static", ({"role": "system", "content": _text("static", text)},))


def volatile(text: str) -> Part:
    """What changes with every request, such as the time or the user's name: it goes to the very end.

    There it costs the provider's cache nothing. It is sent as a system message behind the newest turn where the model
    takes one, else in `<context>` tags; do not keep it in the history.
    """
    return Part("volatile", ({"role": "user", "content": _tagged(_text("volatile", text))},))


def documents(found: Sequence[Document], *, order: Order = "given") -> Part:
    """Documents to answer from, best first: texts, or mappings with `text` and optionally `id` and `title`.

    They become one user message together with the turn that follows; a document that is there twice is sent once. If
    the prompt must be shortened, the last ones are left out first. `order="popular"` sends those first that were often
    found before, so that requests share more of their beginning; rank may matter to the model, so this is not the
    default.
    """
    one_of("documents.order", order, ("given", "popular"))
    parts = (_document(each, number) for number, each in enumerate(_listed("documents", found)))
    return Part("documents", tuple({part["text"]: part for part in parts}.values()), order)


def history(messages: Sequence[Message]) -> Part:
    """The conversation so far, as message dicts. It should only ever grow at its end."""
    return Part("history", _listed("history", messages))


def user(content: str | Sequence[Mapping[str, object]]) -> Part:
    """The newest user turn."""
    return Part("user", ({"role": "user", "content": content},))


def tools(definitions: Sequence[Mapping[str, object]]) -> Part:
    """The tools of the request; the same as the option `tools`."""
    return Part("tools", _listed("tools", definitions))


def laid_out(given: Sequence[Message | Part]) -> tuple[list[Message], Shape, list[Mapping[str, object]] | None]:
    """The messages in the order they are sent, what they are, and the tools if they were among them."""
    first: list[Message] = []
    middle: list[Message] = []
    last: list[Message] = []
    groups: list[tuple[int, int, Order]] = []
    offered: list[Mapping[str, object]] | None = None
    open_group = False
    for each in given:
        if not isinstance(each, Part):
            each = Part("history", (each,))
        match each.kind:
            case "static":
                first += each.items
            case "volatile":
                last += each.items
            case "tools":
                offered = [*(offered or ()), *each.items]
            case "documents" if each.items:
                groups.append((len(middle), len(each.items), each.order))
                middle.append({"role": "user", "content": list(each.items)})
                open_group = True
                continue
            case _:
                if open_group and each.items and _is_user(each.items[0]):
                    middle[-1] = _joined(middle[-1], each.items[0])
                    middle += each.items[1:]
                else:
                    middle += each.items
                open_group = open_group and not each.items
    start = len(first)
    shape = Shape(
        static=start if first else None,
        tail=start + len(middle) if last else None,
        documents=tuple(Documents(start + message, count, order) for message, count, order in groups),
    )
    return first + middle + last, shape, offered


def _listed(name: str, items: object) -> tuple[Any, ...]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Sequence):
        raise ConfigError.at(name, f"must be a list, not a {type(items).__name__}")
    return tuple(items)


def _is_user(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _joined(found: Message, turn: Message) -> Message:
    """One user message of documents and the turn behind them: some models take no two user turns in a row."""
    content = turn.get("content")
    behind = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(behind, Sequence):
        return turn  # what is wrong with it is said where messages are checked
    return {**turn, "content": [*_sequence(found.get("content")), *behind]}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, Sequence) else ()


def _document(document: Document, number: int) -> Mapping[str, object]:
    """One document as a text part, in tags that models know."""
    if isinstance(document, str):
        document = {"text": document}
    if not isinstance(document, Mapping):
        raise ConfigError.at(f"documents[{number}]", f"must be a text or a mapping, not a {type(document).__name__}")
    text = _text(f"documents[{number}].text", document.get("text"))
    named = "".join(
        f' {name}="{_attribute(document[name])}"' for name in ("id", "title") if document.get(name) is not None
    )
    return {"type": "text", "text": f"<document{named}>\n{text}\n</document>"}


def _attribute(value: object) -> str:
    return str(value).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _tagged(text: str) -> str:
    return f"{_OPEN}{text}{_CLOSE}"


def untagged(message: Message) -> str:
    """The text of a volatile part without its tags."""
    return str(message["content"]).removeprefix(_OPEN).removesuffix(_CLOSE)


def _text(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise ConfigError.at(name, f"must be a text, not a {type(text).__name__}")
    if not text:
        raise ConfigError.of(name, text, "must not be empty")
    return text
