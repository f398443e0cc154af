"""What `import fastclient` costs and brings along, and that every public name is there and says what it is."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import fastclient as fc
from fastclient.testing import ProviderServer

HEAVY = {
    *("httpx", "httpx2", "httpcore", "httpcore2", "h11", "httptools", "anyio", "asyncio", "trio", "sniffio", "ssl"),
    *("socket", "tiktoken", "diskcache", "sqlite3", "numpy", "rich", "openai", "anthropic", "tenacity", "orjson"),
    *("opentelemetry", "prometheus_client", "redis", "llama_cpp", "xllamacpp", "pytest", "email", "logging"),
}
NEITHER = {"httpx", "httpx2", "httpcore", "httpcore2", "truststore", "certifi", "trio"}
UNUSED = {"httpx", "httpcore", "tiktoken", "diskcache", "sqlite3", "numpy", "rich", "openai"}
DOORS = ("AsyncClient", "AsyncReplyStream", "Client", "ReplyStream")
VALUES = [getattr(fc, name) for name in fc.__all__ if isinstance(getattr(fc, name), type)]


def python(code: str, *options: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, *options, "-c", code]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=env).stdout


def modules_after(code: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded because of some code."""
    before = "import sys; before = set(sys.modules)\n"
    loaded = python(f"{before}{code}\nprint(*set(sys.modules) - before)").split()
    return {name.partition(".")[0] for name in loaded}


def test_importing_the_package_loads_nothing_heavy() -> None:
    """No HTTP library, event loop, tokenizer or terminal library comes with `import fastclient`."""
    assert not modules_after("import fastclient") & HEAVY


def test_importing_the_package_loads_only_itself() -> None:
    """Every name waits for its first use: the import brings its own file, and what little that needs."""
    assert modules_after("import fastclient") <= {"fastclient", "__future__", "importlib", "warnings"}


@pytest.mark.parametrize("name", ["errors", "config", "types", "parts", "target"])
def test_the_vocabulary_can_be_reached_through_the_package(name: str) -> None:
    """`import fastclient` is enough to write `fastclient.errors.RateLimited`."""
    assert python(f"import fastclient; print(fastclient.{name}.__name__)") == f"fastclient.{name}\n"


def test_a_cold_call_loads_no_http_library() -> None:
    """From the import to the answer: nobody else's HTTP client, no other event loop, no lever that is not in use."""
    with ProviderServer(process=True) as server:
        call = f"fc.Client('openai:m', base_url={server.base_url!r}, wire='direct').chat('Hi')"
        loaded = modules_after(f"import fastclient as fc\nassert {call}.text")
    assert "anyio" in loaded
    assert not loaded & NEITHER
    assert not loaded & {"h11", "requests", "tiktoken", "regex", "diskcache", "sqlite3", "numpy", "rich", "openai"}


def test_dir_and_help_load_nothing_heavy() -> None:
    """An editor that lists the names does not load the clients either."""
    assert not modules_after("import fastclient; assert 'Client' in dir(fastclient)") & HEAVY


def test_a_client_loads_one_http_library_at_most() -> None:
    """Making a client loads the library it is told to use, by default none, and nothing of a cache or the terminal."""
    usual = modules_after("import fastclient as fc\nfc.Client('openai:m', api_key='k')")
    told = modules_after("import fastclient as fc\nfc.Client('openai:m', api_key='k', wire='httpx2')")
    assert not usual & (UNUSED | NEITHER)
    assert "httpx2" in told
    assert not told & UNUSED


def test_importing_touches_no_network_and_writes_no_file(tmp_path: Path) -> None:
    """An import hook that refuses sockets, and writing opens, is never called."""
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event.startswith(('socket.', 'subprocess.', 'urllib.')): raise SystemExit(event)\n"
        "    if event == 'open' and any(c in str(args[1] or 'r') for c in 'wax+'): raise SystemExit(str(args))\n"
        "sys.addaudithook(hook)\nimport fastclient, fastclient.testing\nfastclient.Client, fastclient.AsyncClient\n"
        "print('clean')"
    )
    assert python(code, "-B", HOME=str(tmp_path)) == "clean\n"
    assert not any(tmp_path.iterdir())


def test_importing_starts_no_thread() -> None:
    """The background loop starts with the first blocking call, not with the import or the client."""
    code = "import threading, fastclient as fc; c = fc.Client('openai:m', api_key='k'); print(threading.active_count())"
    assert python(code) == "1\n"


def test_importing_costs_less_than_half_of_httpx() -> None:
    """Medians of alternating runs in the same conditions; both start from a bare interpreter."""
    code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    times: dict[str, list[float]] = {"fastclient": [], "httpx": []}
    for _ in range(7):
        for name, found in times.items():
            found.append(float(python(code.format(name))))
    ours, theirs = median(times["fastclient"][1:]), median(times["httpx"][1:])  # the first run fills the disk cache
    assert ours < theirs / 2, f"{ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms"


@pytest.mark.parametrize("name", fc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name in `__all__` can be imported, also with `from fastclient import`, and comes up in `dir`."""
    namespace: dict[str, object] = {}
    exec(f"from fastclient import {name}", namespace)
    assert namespace[name] is getattr(fc, name)
    assert name in dir(fc)


def test_all_is_complete_sorted_and_unique() -> None:
    """`__all__` is sorted, and nothing public in the package's own file is missing from it."""
    assert fc.__all__ == sorted(set(fc.__all__))
    tree = ast.parse(Path(fc.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastclient")
        for alias in node.names
    }
    assert imported == set(fc.__all__)


@pytest.mark.parametrize("module", ["errors", "config", "types"])
def test_every_error_and_option_is_exported(module: str) -> None:
    """Whatever class of the vocabulary a user can meet as an error or an option is a name of the package."""
    home = __import__(f"fastclient.{module}", fromlist=["*"])
    internal = {"Secret", "Call", "Request", "Shape", "Documents", "ToolCallDelta", "Basis", "Message", "Messages"}
    internal.add("PARTS")
    assert set(home.__all__) - internal <= set(fc.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module, so that hasattr and mocks work."""
    with pytest.raises(AttributeError, match="Cliant"):
        _ = fc.Cliant
    assert not hasattr(fc, "__wrapped__")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_every_public_class_says_what_it_is(value: type) -> None:
    """Its own docstring, whose first line is a sentence that stands alone."""
    doc = value.__dict__.get("__doc__")
    assert doc
    assert not doc.startswith(f"{value.__name__}("), "the one a dataclass makes up"
    assert doc.strip().splitlines()[0].rstrip().endswith((".", ":"))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_every_public_method_says_what_it_does(value: type) -> None:
    """Methods and properties that users call have a docstring; one-word ones that repeat a field need none."""
    obvious = {"provider", "model", "key", "is_content"}
    silent = {
        name
        for name, member in vars(value).items()
        if not name.startswith("_") and name not in obvious
        if inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
        if not inspect.getdoc(member)
    }
    assert not silent


@pytest.mark.parametrize("name", DOORS)
def test_the_doors_take_the_same_calls(name: str) -> None:
    """The blocking and the asynchronous door have the same methods with the same parameters."""
    twin = {"AsyncClient": fc.Client, "AsyncReplyStream": fc.ReplyStream}.get(name)
    if twin is None:
        twin = {"Client": fc.AsyncClient, "ReplyStream": fc.AsyncReplyStream}[name]
    door, closes = getattr(fc, name), {"close": "aclose", "aclose": "close"}
    for method, function in vars(door).items():
        if inspect.isfunction(function) and not method.startswith("_"):
            other = getattr(twin, closes.get(method, method))
            assert list(inspect.signature(function).parameters) == list(inspect.signature(other).parameters)
    assert list(inspect.signature(door).parameters) == list(inspect.signature(twin).parameters)


def test_the_version_is_that_of_the_distribution() -> None:
    """`fastclient.__version__` is what is installed."""
    from importlib.metadata import version

    assert fc.__version__ == version("fastclient")
    assert json.loads(python("import json, fastclient; print(json.dumps(fastclient.__version__))")) == fc.__version__
