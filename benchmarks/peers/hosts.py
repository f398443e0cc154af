"""The servers: the one in C that answers, and nginx before it for TLS. Linux only.

They are kept to one core and the workers to another, where there are two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Hosts", "client_core", "pinned", "server_core"]

SOURCE = Path(__file__).parent / "server" / "server.c"

_NGINX = """
daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  log_format resumed $ssl_session_reused;
  access_log {home}/resumed.log resumed;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fast;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:kept:4m; ssl_session_tickets on;
  upstream behind {{ server 127.0.0.1:{port}; keepalive 256; }}
  keepalive_requests 10000000;
  server {{ listen 127.0.0.1:{tls} ssl backlog=1024; keepalive_timeout 600; {pass_on} }}
  server {{ listen 127.0.0.1:{closing} ssl backlog=1024; keepalive_timeout 0; {pass_on} }}
}}
"""
_PASS_ON = (
    'location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";'
    " proxy_buffering off; client_max_body_size 8m; client_body_buffer_size 512k; }"
)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def client_core() -> set[int]:
    return {_cores()[0]}


def server_core() -> set[int]:
    return {_cores()[-1]}


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """What is started in here stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Hosts:
    """Starts on entry, and ends what it started. `roots` are the addresses by place; without nginx, only the plain."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: list[subprocess.Popen[bytes]] = []
        self.roots: dict[str, str] = {}
        self.without_tls: str | None = None
        self.certificates = home / "trusted.pem"

    def __enter__(self) -> Hosts:
        port = self._start_server(self._compiled())
        self.roots["plain"] = f"http://127.0.0.1:{port}"
        self.without_tls = self._start_front(port)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
            process.wait(10)

    def resumed(self) -> list[str]:
        """One letter for each answer over TLS so far: `r` on a connection that was resumed, `.` on another."""
        log = self._home / "resumed.log"
        return log.read_text().split() if log.exists() else []

    def _compiled(self) -> Path:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("The server of this benchmark is a C program: install a C compiler (cc).")
        program = self._home / "server"
        subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
        return program

    def _start_server(self, program: Path) -> int:
        with pinned(server_core()):
            server = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._running.append(server)
        assert server.stdout is not None
        return int(server.stdout.readline())

    def _start_front(self, port: int) -> str | None:
        """Why there is no TLS, if so."""
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        openssl = shutil.which("openssl")
        if nginx is None or openssl is None:
            return f"TLS needs {'nginx' if nginx is None else 'openssl'}, which is not here"
        self._make_certificates(openssl)
        tls, closing = _free_port(), _free_port()
        self._home.chmod(0o755)
        settings = self._home / "nginx.conf"
        settings.write_text(_NGINX.format(home=self._home, port=port, tls=tls, closing=closing, pass_on=_PASS_ON))
        with pinned(server_core()):
            front = subprocess.Popen([nginx, "-c", str(settings), "-p", str(self._home)], stderr=subprocess.DEVNULL)
        self._running.append(front)
        if not _reached(closing):
            return "nginx did not start: " + (self._home / "error.log").read_text()[-200:]
        self.roots |= {"tls": f"https://localhost:{tls}", "closing": f"https://localhost:{closing}"}
        return None

    def _make_certificates(self, openssl: str) -> None:
        """An authority and a server's certificate by it; the former in a bundle beside the usual ones.

        A bundle of one would be read faster than what programs have to read.
        """
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        self._openssl(openssl, "req", "-x509", *made, "-subj", "/CN=peers", "-keyout", "ca.key", "-out", "ca.pem")
        self._openssl(
            *(openssl, "req", "-x509", *made, *names, "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "key.pem", "-out", "cert.pem"),
        )
        usual = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        others = Path(usual).read_text() if Path(usual).exists() else ""
        self.certificates.write_text(others + "\n" + (self._home / "ca.pem").read_text())

    def _openssl(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=self._home)


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _reached(port: int) -> bool:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False
