"""xllamacpp: llama.cpp's own server inside of this process, on a port of this machine. Nothing to compile.

To everybody else it is a server that speaks OpenAI's dialect, so calls to it go the ordinary way.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import replace
from typing import Any

from fastclient.errors import LocalUnavailable
from fastclient.local.gguf import BadModel, header
from fastclient.local.settings import Local
from fastclient.locks import Locked
from fastclient.target import Target

__all__ = ["stop", "target_of"]

_MISSING = """xllamacpp is not installed. One of these gets a local model going:
  pip install "fastclient[local-wheels]"
  fc.Client("openai:name", base_url="http://127.0.0.1:8080/v1")     # any server that runs already"""


class _Servers(Locked):
    """Those that run in this process. They know nothing of forks: a child starts its own."""

    def __init__(self) -> None:
        super().__init__()
        self.running: dict[tuple[int, Local], Any] = {}


_servers = _Servers()


def target_of(local: Local) -> Target:
    """Where calls to this model go. Starts the server, if it does not run yet. Raises LocalUnavailable."""
    name = f"openai:{local.model}"
    if local.served:
        return Target(name, base_url=local.engine, stops_billing=True)
    key = os.getpid(), replace(local, name=None, path=os.path.abspath(local.path))
    with _servers.lock:
        if key not in _servers.running:
            _servers.running[key] = _started(local)
        address = _servers.running[key].listening_address
    return Target(name, base_url=f"{address}/v1", api_key="none", stops_billing=True)


def stop(local: Local) -> None:
    """End this model's server."""
    with _servers.lock:
        server = _servers.running.pop((os.getpid(), replace(local, name=None, path=os.path.abspath(local.path))), None)
    del server


@atexit.register
def _stop_all() -> None:
    with _servers.lock:
        mine = [key for key in _servers.running if key[0] == os.getpid()]
        for key in mine:
            del _servers.running[key]


def _started(local: Local) -> Any:
    try:
        header(local.path)
    except BadModel as error:
        raise LocalUnavailable(f"{os.path.basename(local.path)}: {error}") from None
    try:
        import xllamacpp
    except ImportError:
        raise LocalUnavailable(_MISSING) from None
    library: Any = xllamacpp  # a compiled module: nobody knows its names
    params = library.CommonParams()
    params.model.path = os.path.abspath(local.path)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.n_gpu_layers = local.context, local.slots, local.gpu_layers
    params.warmup, params.verbosity = False, -1
    if local.threads is not None:
        params.cpuparams.n_threads = local.threads
    if local.batch is not None:
        params.n_batch = params.n_ubatch = local.batch
    if local.chat_template is not None:
        params.chat_template = local.chat_template
    try:
        return library.Server(params)
    except Exception as error:
        raise LocalUnavailable(f"xllamacpp cannot serve the model ({type(error).__name__})") from None
