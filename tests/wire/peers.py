"""What stands at the other end in the tests of the wire: a TCP server of a few lines, and TLS in front of others."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastclient.testing import ProviderServer
from fastclient.wire import sockets

__all__ = ["Listener", "certificate", "forget_trust", "head_of", "relay", "secured", "trusted"]


class Listener:
    """A TCP server of a few lines: `serve` gets each connection, on a thread of its own, and a count is kept."""

    def __init__(self, serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> None:
        self._serve, self._context, self.count = serve, context, 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self._context is None:
                    self._serve(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as secured:
                        self._serve(secured)
            except OSError:
                return

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join(2)


def head_of(connection: socket.socket) -> bytes:
    """The request head a client sends; the body that follows is read as far as it came along."""
    got = b""
    while b"\r\n\r\n" not in got and (data := connection.recv(65536)):
        got += data
    return got


def relay(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes until one side ends."""
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=fastclient test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:right.test"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@contextmanager
def secured(server: ProviderServer, certificate: tuple[Path, Path], **versions: ssl.TLSVersion) -> Iterator[Listener]:
    """TLS in front of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    for name, version in versions.items():
        setattr(context, name, version)

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", int(server.origin.rpartition(":")[2]))) as inner:
            threading.Thread(target=relay, args=(inner, connection), daemon=True).start()
            relay(connection, inner)

    with Listener(serve, context) as listener:
        yield listener


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The certificate is trusted for one test, as SSL_CERT_FILE makes it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    forget_trust()
    yield
    forget_trust()


def forget_trust() -> None:
    """Whoever connects next looks again at what the environment says."""
    sockets.ssl_context.cache_clear()
    sockets._trust.cache_clear()
