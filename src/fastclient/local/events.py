"""An answer's pieces as the events of Chat Completions, so that doors for SDKs and `reply.raw` have bytes. Pure."""

from __future__ import annotations

import orjson

from fastclient.local.port import Piece

__all__ = ["Events"]


class Events:
    """Writes the events of one answer. What is the same in all of them is written once."""

    __slots__ = ("_begun", "_head")

    def __init__(self, name: str, model: str, created: float) -> None:
        fields = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": int(created), "model": model}
        self._head = b"data: " + orjson.dumps(fields)[:-1] + b',"choices":['
        self._begun = False

    def text(self, text: str, pieces: list[Piece] | None = None) -> bytes:
        """The event for a piece of text."""
        role = b"" if self._begun else b'"role":"assistant",'
        self._begun = True
        told = b"" if not pieces else b',"logprobs":' + orjson.dumps({"content": list(map(_told, pieces))})
        return b'%s{"index":0,"delta":{%s"content":%s}%s,"finish_reason":null}]}\n\n' % (
            self._head,
            role,
            orjson.dumps(text),
            told,
        )

    def finish(self, reason: str) -> bytes:
        """The event that says why the answer ended."""
        role = b"" if self._begun else b'"role":"assistant","content":""'
        return b'%s{"index":0,"delta":{%s},"finish_reason":"%s"}]}\n\n' % (self._head, role, reason.encode())

    def usage(self, prompt: int, cached: int, written: int) -> bytes:
        """The event with the counts."""
        counts = {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return b'%s],"usage":%s}\n\n' % (self._head, orjson.dumps(counts))

    def done(self) -> bytes:
        return b"data: [DONE]\n\n"


def _told(piece: Piece) -> dict[str, object]:
    token = piece.raw.decode("utf-8", "replace")
    return {"token": token, "logprob": piece.logprob, "bytes": list(piece.raw), "top_logprobs": []}
