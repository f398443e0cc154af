"""A server that keeps every request as the bytes it came in, and answers each with the same few words."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Mapping
from types import TracebackType

from fastclient.testing.http1 import RequestReader, head

__all__ = ["Recorder"]

REPLY = b'{"data":[],"object":"list"}'
SECOND = 19  # bytes of it


class Recorder:
    """Listens on 127.0.0.1 while it is entered. `moved` names paths that lead elsewhere, each with its status.

    The body of a file's content comes in two pieces, the second one when `rest` is set.
    """

    def __init__(self, moved: Mapping[str, tuple[int, str]] | None = None) -> None:
        self.requests: list[bytes] = []
        self.bodies: list[bytes] = []
        self.rest = threading.Event()
        self._moved = moved or {}
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """The same, with the version that OpenAI's SDK wants to have."""
        return f"{self.url}/v1"

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                reader, came = RequestReader(), b""
                while data := self.request.recv(65536):
                    came += data
                    reader.feed(data)
                    if (request := reader.next()) is not None:
                        recorder.requests.append(came)
                        recorder.bodies.append(request.body)
                        came = b""
                        reply = recorder.reply(request.method, request.path)
                        if request.path.endswith("/content"):
                            self.request.sendall(reply[:-SECOND])
                            recorder.rest.wait(10)
                            reply = reply[-SECOND:]
                        self.request.sendall(reply)

        return Handler

    def reply(self, method: str, path: str) -> bytes:
        """What this request is answered with."""
        status, elsewhere = self._moved.get(path, (200, ""))
        body = b"" if method == "HEAD" or elsewhere else REPLY
        headers = {"content-type": "application/json", "x-path": path, **({"location": elsewhere} if elsewhere else {})}
        return head(status, headers, len(body), keep_alive=True) + body
