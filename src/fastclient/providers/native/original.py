"""A request as another library wrote it: understood as far as the levers need, and sent on byte for byte without one.

Pure: bytes and values in, a `WireRequest` out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fastclient.providers.dialect import Json, encoded, find
from fastclient.target import Target
from fastclient.types import Message, Request
from fastclient.wire.port import WireRequest

if TYPE_CHECKING:
    from fastclient.prompt.layout import Layout

__all__ = ["CREDENTIALS", "Asked", "Form", "Original", "forms", "outgoing"]

CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")

# What may be told another host: all else may be a key, or say who asks.
_CARRIED = ("accept", "accept-encoding", "content-type", "user-agent", "anthropic-version", "anthropic-beta")

_FORMS = ("chat", "responses", "messages", "gemini")


class Asked(NamedTuple):
    """What a body asks for: `messages` and `params` as in a `Request`, and whether the answer is to be streamed.

    With `rigid` they are good for looking at only: what is changed in them could not be put back into the body.
    """

    model: str
    messages: tuple[Message, ...]
    params: Mapping[str, object]
    streamed: bool
    rigid: bool = False


class Form(Protocol):
    """One format of requests and answers, as its SDK writes and reads it. Pure.

    With `verbatim` what is asked, in words, is all that the body says.
    """

    provider: str
    verbatim: bool

    def asked(self, path: str, document: Json, *, exact: bool) -> Asked | None:
        """What a JSON body that is posted to this path asks for; None if it is not of this form.

        Only with `exact` will anything be changed in it: otherwise it need not be found out whether that is possible.
        """
        ...

    def streamable(self, document: Json) -> bool:
        """Whether a whole answer may be fetched as a stream: `gathered` can put it together again exactly."""
        ...

    def streaming(self, url: str, document: Json) -> tuple[str, Json]:
        """The same request for a stream, where it asked for a whole answer."""
        ...

    def rewritten(self, document: Json, request: Request, layout: Layout | None) -> Json:
        """The document with the messages and parameters of this request in it, laid out for the provider's cache."""
        ...

    def elsewhere(self, document: Json, url: str, target: Target) -> tuple[str, Json]:
        """The URL and the document for the same request to another target of this form."""
        ...

    def gathered(self, events: bytes) -> bytes:
        """The whole answer, as the provider would have sent it, that the events of a complete stream add up to."""
        ...

    def refused(self, status: int, message: str, kind: str) -> bytes:
        """The body of an error answer with this message, for refusals of our own. `kind` is a word such as
        "rate_limit_exceeded" or "context_length_exceeded"."""
        ...


@cache
def forms() -> tuple[Form, ...]:
    """All forms, imported on first use."""
    return tuple(import_module(f"fastclient.providers.native.{name}").form for name in _FORMS)


@dataclass(slots=True, kw_only=True)  # not frozen: that takes much longer to make
class Original:
    """A request as it came. `headers` have lower-case names; `variant` is what makes its answer differ from that to a
    request with the same messages and parameters. With `turned` a whole answer is fetched as a stream.
    """

    form: Form
    target: Target
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    document: Json = field(repr=False)
    asked: Asked = field(repr=False)
    turned: bool = False
    variant: tuple[object, ...] = field(default=(), repr=False)


def outgoing(request: Request, target: Target, layout: Layout | None) -> WireRequest:
    """What is sent for a request: what another library wrote, as far as it may stay that way, or our own words."""
    original = request.original
    if original is None or original.form.provider != target.provider:
        return find(target.provider).write(request, target, layout)
    form, url, headers, document = original.form, original.url, original.headers, original.document
    asked = original.asked
    changed = layout is not None or request.messages is not asked.messages or request.params is not asked.params
    if changed and not asked.rigid:
        document = form.rewritten(document, request, layout)
    if layout is not None and layout.headers:
        headers = {**headers, **layout.headers}
    if target != original.target:
        url, document = form.elsewhere(document, url, target)
        headers = {name: headers[name] for name in headers if name in _CARRIED or name.startswith("x-stainless-")}
        headers |= find(target.provider).authentication(target)
        headers |= {name.lower(): value for name, value in target.headers.items()}
    if original.turned:
        url, document = form.streaming(url, document)
    body = original.body if document is original.document else encoded(document)
    return WireRequest(method="POST", url=url, headers=headers, body=body)
