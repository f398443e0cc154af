"""What a provider's error answer means: the class to raise, the wait it asks for, and its words without our secrets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from fastclient.errors import (
    AuthenticationFailed,
    BadRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    RateLimited,
    ServerFailed,
)
from fastclient.target import Target
from fastclient.types import Request

__all__ = ["Scrub", "refusal", "request_id", "retry_after", "scrubber"]

Scrub = Callable[[str], str]

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    408: ServerFailed,
    409: ServerFailed,  # a lock at the provider: goes away by itself
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
# Error events inside a stream carry a type and no status.
_ABOUT_THE_REQUEST = (  # of failed Responses
    *("invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation"),
    *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
    *("image_too_large", "image_too_small", "image_parse_error", "image_content_policy_violation"),
    *("image_file_too_large", "unsupported_image_media_type", "empty_image_file", "image_file_not_found"),
)
_STATUS_OF: Mapping[str, int] = {
    **dict.fromkeys(_ABOUT_THE_REQUEST, 400),
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "overloaded_error": 529,
}
_QUOTE = 16  # characters in a row that count as quoting the prompt
_QUOTABLE = 2000  # longest text searched for quotes; above, only whole secrets and whole texts are
_LONGEST_WAIT = 365 * 86400.0  # anything above is not a wish but a bug


def refusal(
    provider: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    scrub: Scrub,
    *,
    hint: str | None = None,
) -> ProviderError:
    """The error to raise for an answer that is none. `status` is 200 for an error event inside a stream."""
    text = scrub(body.decode("utf-8", "replace"))
    kind, message, code = _told(body)
    quota, kind, message = kind == "insufficient_quota", scrub(kind), scrub(message)
    meaning = status if status >= 300 else code
    usual = ProviderError if meaning < 400 else BadRequest if meaning < 500 else ServerFailed
    cls = _BY_STATUS.get(meaning, usual)
    detail = hint or message[:300]
    error = cls(
        f"{provider} answered {status}{f' ({kind})' if kind else ''}{f': {detail}' if detail else ''}",
        provider=provider,
        status_code=status,
        request_id=request_id(headers),
        retry_after=retry_after(headers),
        body=text,
    )
    wish = headers.get("x-should-retry")
    if wish in ("true", "false"):
        error.retryable = wish == "true"
    elif quota:
        error.retryable = False  # comes as a 429, but waiting does not fill an account
    return error


def _told(body: bytes) -> tuple[str, str, int]:
    """The error's kind, message and status, as far as the body tells. All providers nest them much alike."""
    try:
        document: Any = orjson.loads(body)
    except ValueError:
        return "", "", 500
    document = document if isinstance(document, dict) else {}
    error = document.get("error", document)
    error = error if isinstance(error, dict) else {"message": error}
    kinds = [value for name in ("code", "type") if isinstance(value := error.get(name), str)]
    known = next((kind for kind in kinds if kind in _STATUS_OF), None)
    code = error.get("code")
    if known is not None:
        status = _STATUS_OF[known]
    else:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    message = error.get("message") or error.get("detail")
    return known or (kinds[-1] if kinds else ""), message if isinstance(message, str) else "", status


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's own name for this request, to quote in a support ticket."""
    return headers.get("x-request-id") or headers.get("request-id")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait the provider asks for, in seconds: `retry-after-ms`, else `Retry-After` as seconds or as a date.

    Past, negative, endless and unreadable values count as not given.
    """
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        seconds /= 1000
    else:
        value = headers.get("retry-after")
        seconds = _number(value)
        if seconds is None and value:
            seconds = _until(value)
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_WAIT else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(value: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        return (parsedate_to_datetime(value).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None


def scrubber(target: Target, request: Request | None = None) -> Scrub:
    """A function that blots out the target's keys, and the request's own texts, wherever a provider echoes them."""

    def scrub(text: str) -> str:
        texts = [each for message in request.messages for each in _texts(message.get("content"))] if request else []
        secrets = {target.key, *target.headers.values(), *texts}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= 6:  # shorter ones occur by chance and would riddle the text with holes
                for form in _forms(secret):
                    text = text.replace(form, "***")
        return _without_quotes(text, "\n".join(texts)) if len(text) <= _QUOTABLE else text

    return scrub


def _without_quotes(text: str, source: str) -> str:
    """The text with every stretch blotted out that it shares with the source, from `_QUOTE` characters on."""
    kept, at = [], 0
    while at < len(text):
        length = 0
        if text[at : at + _QUOTE] in source and at + _QUOTE <= len(text):
            length = _QUOTE
            while at + length < len(text) and text[at : at + length + 1] in source:
                length += 1
        kept.append("***" if length else text[at])
        at += length or 1
    return "".join(kept)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as a JSON document may write it."""
    yield secret
    for escaped in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield escaped
        yield escaped.replace("/", "\\/")


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
