"""Behind a real nginx with its usual buffering and compression: the first token comes when it exists."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastclient as fc
from fastclient.testing import ProviderServer, World

CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {origin}; }} }}
}}
"""


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[str]:
    """The origin of an nginx in front of a provider that takes a second for its answer."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert not os.environ.get("FASTCLIENT_REQUIRE_ALL"), "nginx is not installed"
        pytest.skip("nginx is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ProviderServer(world=World(gap=0.02), answer="word" * 50) as server:
        config = tmp_path / "nginx.conf"
        config.write_text(CONFIG.format(folder=tmp_path, port=port, origin=server.origin))
        nginx = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            nginx.terminate()
            nginx.wait(10)


def test_a_compressing_proxy_does_not_hold_the_stream_back(proxied: str) -> None:
    """We ask for plain bytes, so nginx passes tokens on; who asks for gzip gets them all at the end."""
    with fc.Client("openai:m", base_url=f"{proxied}/v1") as client:
        timings = client.chat("Hi").timings
    assert timings.ttft is not None
    assert timings.ttft < 0.5 * timings.total

    import httpx2

    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    with httpx2.Client() as usual:
        began = time.monotonic()
        with usual.stream("POST", f"{proxied}/v1/chat/completions", json=body) as response:
            pieces = response.iter_text()
            next(pieces)
            first = time.monotonic() - began
            for _ in pieces:
                pass
        assert first > 0.5 * (time.monotonic() - began)
