"""A real llama.cpp server, in this process, on a small model that answers checkable tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

MODEL = Path(__file__).parent.parent / "data" / "tiny-shop.gguf"


@pytest.fixture(scope="session")
def llama_url() -> Iterator[str]:
    """The base URL of llama.cpp's own server, in OpenAI's dialect."""
    try:
        import xllamacpp
    except ImportError:
        if os.environ.get("FASTCLIENT_REQUIRE_ALL"):
            raise
        pytest.skip("xllamacpp is not installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4096, 2, 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server
