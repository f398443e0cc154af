"""A loopback server for `/embeddings` of a few lines, whose answers the tests write."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


def vector(text: str) -> list[float]:
    """The vector this server has for a text: its length, and how many words it has."""
    return [float(len(text)), float(text.count(" ") + 1), 1.0]


def usual(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What a server answers, in an order of its own, as OpenAI allows."""
    as_bytes = asked.get("encoding_format") == "base64"
    data = [
        {"index": at, "embedding": b64encode(np.float32(vector(text)).tobytes()).decode() if as_bytes else vector(text)}
        for at, text in enumerate(asked["input"])
    ]
    return 200, {"data": data[::-1]}


class Vectors:
    """A running server: `requests` are the bodies it was sent, `base_url` is where."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:  # noqa: N805  # `self` is the server
                asked = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                self.requests.append(asked)
                self.headers.append({name.lower(): value for name, value in handler.headers.items()})
                status, body = answer(asked)
                data = json.dumps(body).encode()
                handler.send_response(status)
                handler.send_header("content-type", "application/json")
                handler.send_header("content-length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator[Vectors]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
