"""What those who read a stream by hand share: the text in one line of an answer in OpenAI's format."""

from __future__ import annotations

import orjson

__all__ = ["HEADERS", "body", "said", "text_in"]

HEADERS = {"authorization": "Bearer any", "content-type": "application/json"}


def body(prompt: str, stream: bool) -> bytes:
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream})


def said(answer: bytes | memoryview) -> str:
    return orjson.loads(answer)["choices"][0]["message"]["content"]


def text_in(line: bytes | str) -> str:
    """Empty for lines that have none."""
    if isinstance(line, str):
        line = line.encode()
    if not line.startswith(b"data: {"):
        return ""
    choices = orjson.loads(line[6:])["choices"]
    return choices[0]["delta"].get("content") or "" if choices else ""
