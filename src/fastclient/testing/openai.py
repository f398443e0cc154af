"""What OpenAI's formats have in common: errors, response headers, the list of models, where the key stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastclient.testing.answer import ServerRequest
from fastclient.testing.formats import dumps

__all__ = ["CREATED", "OpenAI"]

CREATED = 1_750_000_000
"""When every answer was made: fixed, so that the same answer is the same bytes."""

_KINDS = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "not_found"),
    413: ("invalid_request_error", "context_length_exceeded"),
    429: ("requests", "rate_limit_exceeded"),
}


class OpenAI:
    """What is the same in all of OpenAI's dialects."""

    def error(self, status: int, kind: str | None, message: str | None) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`."""
        usual, code = _KINDS.get(status, ("server_error", None))
        detail = {"message": message or f"The pretend provider answers {status}.", "type": kind or usual}
        return dumps({"error": {**detail, "param": None, "code": kind or code}})

    def headers(self, request: ServerRequest, seconds: float) -> dict[str, str]:
        """The request id and the milliseconds OpenAI says it took."""
        return {"x-request-id": f"req_{request.arrival:08d}", "openai-processing-ms": str(round(seconds * 1000))}

    def models(self, names: Sequence[str]) -> bytes:
        """A list of `model` objects."""
        data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "fastclient"} for name in names]
        return dumps({"object": "list", "data": data})

    def key(self, path: str, headers: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """The bearer token, or Azure's `api-key`."""
        return headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key")
