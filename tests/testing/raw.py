"""A client that is only a socket: it sees exactly what the server wrote, and when."""

from __future__ import annotations

import json
import socket
from types import TracebackType

from fastclient.testing import ProviderServer


class Raw:
    """One connection to a server."""

    def __init__(self, server: ProviderServer, timeout: float = 3.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(server.origin.rpartition(":")[2])), timeout)

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, prompt: str = "hello", *, path: str = "/v1/chat/completions", stream: bool = True) -> Raw:
        """Send one model call."""
        body = {"model": "m", "stream": stream, "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]}
        return self.send(f"POST {path} HTTP/1.1\r\nhost: test\r\n", json.dumps(body).encode())

    def send(self, head: str, body: bytes = b"") -> Raw:
        """Send a request whose head lacks only the length."""
        self.socket.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        return self

    def until(self, end: bytes) -> bytes:
        """Everything up to and with these bytes."""
        got = b""
        while not got.endswith(end):
            data = self.socket.recv(1 if end != b"" else 65536)
            if not data:
                return got
            got += data
        return got

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        got = b""
        while data := self.socket.recv(65536):
            got += data
        return got

    def answer(self) -> bytes:
        """One whole chunked or sized answer, head included."""
        head = self.until(b"\r\n\r\n")
        if b"chunked" in head:
            return head + self.until(b"\r\n0\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = b""
        while len(body) < length:
            body += self.socket.recv(length - len(body))
        return head + body


def unchunked(answer: bytes) -> bytes:
    """The body of a chunked answer, without its chunk lines."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        body, rest = body + rest[:length], rest[length + 2 :]
    return body
