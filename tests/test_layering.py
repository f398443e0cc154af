"""The layers of the package, read off its imports: values, pure files, layers, edges, doors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import fastclient

ROOT = Path(fastclient.__file__).parent

VALUES = ("types", "errors", "checks", "target", "config", "request", "parts")
"""The vocabulary: may import each other, and nothing else of the package."""

PURE = (
    *("providers.sse", "providers.decoder", "providers.refusal", "providers.reported", "providers.openai"),
    *(
        "providers.turns",
        "providers.responses",
        "providers.gemini",
        "providers.native.original",
        "providers.native.chat",
    ),
    *("providers.native.messages", "providers.native.responses", "providers.native.gemini", "providers.native.blocks"),
    *("providers.native.pieces", "providers.native.spoken", "transport.recognise", "wire.direct.head"),
    *("providers.anthropic", "observe.timing", "observe.sketch", "observe.events", "observe.stats"),
    *(
        "providers.rates",
        "providers.repeat",
        "tail.breaker",
        "tail.budget",
        "tail.drift",
        "tail.hedge",
        "tail.latency",
    ),
    *("tail.limit", "tail.line", "tail.pace", "tail.pause", "tail.refill", "tail.ceiling"),
    *("engine.answer", "engine.watchdog", "engine.stream", "engine.stack", "locks"),
    *(
        "prompt.tokens",
        "prompt.estimator",
        "prompt.squeeze",
        "prompt.trim",
        "prompt.rules",
        "prompt.layout",
        "prompt.wire",
    ),
    *("prompt.prefix", "prompt.piece", "prompt.lineage", "prompt.arrange", "prompt.fit", "prompt.line"),
    *(
        "prompt.breakpoints",
        "prompt.lifetime",
        "prompt.route",
        "prompt.drift",
        "prompt.cause",
        "prompt.difference",
        "prompt.watch",
    ),
    *("cache.key", "cache.entry", "cache.seal", "cache.freshness", "cache.store", "cache.memory", "cache.came"),
    *("cache.circuit", "cache.labels"),
    *("cache.semantic.account", "cache.semantic.choice", "cache.semantic.route", "cache.semantic.asked"),
    *("cache.semantic.agree", "cache.semantic.judge", "cache.semantic.report"),
    *sorted(f"cache.guards.{path.stem}" for path in (ROOT / "cache" / "guards").glob("[a-z]*.py")),
)
"""No input or output, no event loop."""

IMPURE = {
    *("anyio", "asyncio", "trio", "sniffio", "socket", "ssl", "select", "selectors", "subprocess", "concurrent"),
    *("http", "urllib", "httpx", "httpx2", "httpcore", "httpcore2", "httptools", "h11", "tenacity", "diskcache"),
}

HOMES = {
    "anyio": (
        "engine/*",
        "wire/*",
        "tail/*",
        "cache/*",
        "local/*",
        "functions/*",
        "testing/*",
        "cli/*",
        "core.py",
        "fanout.py",
        "keep_warm.py",
        "levers.py",
        "precompute.py",
        "reading.py",
        "warm.py",
    ),
    "diskcache": ("cache/disk/*",),
    "httptools": ("wire/direct/*",),
    "httpx": ("wire/family.py", "transport/*"),
    "httpx2": ("wire/family.py", "transport/*"),
    "jinja2": ("local/template.py",),
    "numpy": ("cache/embedders/vectors.py",),
    "onnxruntime": ("cache/embedders/onnx.py",),
    "llama_cpp": ("local/llama.py",),
    "opentelemetry": ("observe/otel.py",),
    "orjson": (
        *("providers/dialect.py", "providers/decoder.py", "providers/refusal.py", "providers/turns.py"),
        *("providers/native/*", "transport/*", "functions/*"),
        *(
            "cache/embedders/*",
            "cache/entry.py",
            "cache/key.py",
            "cache/semantic/*",
            "cli/prefix.py",
            "local/*",
            "prompt/*",
            "testing/stable.py",
        ),
        *("testing/answer.py", "testing/codec.py", "testing/formats.py", "testing/messages.py", "testing/provider.py"),
    ),
    "psycopg": ("cache/postgres/driver.py",),
    "prometheus_client": ("observe/prometheus.py",),
    "pytest": ("testing/plugin.py",),
    "redis": ("cache/redis/*",),
    "rich": ("cli/*",),
    "tokenizers": ("cache/embedders/pieces.py",),
    "usearch": ("cache/index/graph.py",),
    "tenacity": ("tail/retry.py",),
    "tiktoken": ("prompt/vocabulary.py",),
    "trio": ("engine/detached.py", "engine/clock.py"),
    "xllamacpp": ("local/llama.py", "local/wheels.py"),
}
"""Which files may import which foreign library. A new library, or a new home for one, is a decision: write it here."""

DYNAMIC = {
    "__init__.py",
    "cache/embedders/__init__.py",
    "providers/dialect.py",
    "providers/native/original.py",
    "testing/__init__.py",
    "wire/family.py",
    "wire/sockets.py",
}
"""Files that import by a computed name, which no reader of imports can follow."""


LAZY_CYCLES = {("testing.server", "testing.control")}
"""Imports inside functions that close a circle on purpose: the server process is started by the file it runs."""


@dataclass(frozen=True)
class Import:
    """One imported module. `lazy`: inside a function, or when run as a program. `typing`: for type checkers only."""

    module: str
    lazy: bool
    typing: bool


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".")


@cache
def files() -> Mapping[str, Path]:
    """Every module of the package by its name without `fastclient.`; the package itself is the empty name."""
    return {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports(name: str) -> tuple[Import, ...]:
    return tuple(found(ast.parse(files()[name].read_text(encoding="utf-8"))))


def found(node: ast.AST, *, lazy: bool = False, typing: bool = False) -> Iterator[Import]:
    """All imports below a node, wherever they stand."""
    match node:
        case ast.Import():
            yield from (Import(alias.name, lazy, typing) for alias in node.names)
        case ast.ImportFrom(module=str(module)):
            for alias in node.names:  # `from package import name`: the name may itself be a module
                inner = f"{module}.{alias.name}"
                yield Import(inner if own(inner) in files() else module, lazy, typing)
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for child in node.body:
                yield from found(child, lazy=lazy, typing=True)
            for child in node.orelse:
                yield from found(child, lazy=lazy, typing=typing)
        case _:
            script = isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
            lazy = lazy or script or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from found(child, lazy=lazy, typing=typing)


def own(module: str) -> str | None:
    """The name inside the package, or None for a foreign module."""
    if module == "fastclient":
        return ""
    return module.removeprefix("fastclient.") if module.startswith("fastclient.") else None


def foreign(name: str) -> set[str]:
    """Top-level names of the modules from outside that a module imports when it runs."""
    return {one.module.partition(".")[0] for one in imports(name) if own(one.module) is None and not one.typing}


def test_the_reader_of_imports_sees_every_form() -> None:
    """Imports at the top, in functions, and for type checkers are told apart; the other tests rest on this."""
    code = "import a.b\nfrom fastclient import types\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
    code += "class X:\n    def f(self):\n        from fastclient.engine.seam import drive\n"
    seen = set(found(ast.parse(code)))
    assert seen == {
        Import("a.b", lazy=False, typing=False),
        Import("fastclient.types", lazy=False, typing=False),
        Import("c", lazy=False, typing=True),
        Import("d", lazy=False, typing=False),
        Import("fastclient.engine.seam", lazy=True, typing=False),
    }


@pytest.mark.parametrize("name", [*VALUES, *PURE])
def test_named_modules_exist(name: str) -> None:
    """The lists above name real files, so that a rename cannot empty a rule."""
    assert name in files()


@pytest.mark.parametrize("name", VALUES)
def test_the_vocabulary_stands_alone(name: str) -> None:
    """The vocabulary imports only itself; for type checkers also what it mentions, and a policy makes its stores."""
    mentioned = {"observe.timing", "observe.events", "tail.line", "cache.store", "prompt.layout", "prompt.piece"}
    mentioned |= {"providers.native.original", "cache.semantic.settings"}
    for one in imports(name):
        home = own(one.module)
        assert (
            home in {None, *VALUES}
            or (one.typing and home in mentioned)
            or (name == "config" and one.lazy and home in {"cache.memory", "cache.disk", "cache.semantic.settings"})
        ), one


@pytest.mark.parametrize("name", PURE)
def test_pure_files_import_no_io(name: str) -> None:
    """What decides and computes can be tested without a network or a loop, because it knows none."""
    assert not foreign(name) & IMPURE - {"urllib"}


def test_pure_files_load_no_io() -> None:
    """Nor do the modules they import: a fresh interpreter that loads them all has no event loop and no socket."""
    names = [f"fastclient.{name}" for name in (*VALUES, *PURE)]
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & (IMPURE - {"urllib", "http", "concurrent"})


def test_every_foreign_library_has_its_home() -> None:
    """A library is imported by the files the table names, so that replacing it touches those."""
    strays = {
        (library, path.relative_to(ROOT).as_posix())
        for name, path in files().items()
        for library in foreign(name) - sys.stdlib_module_names - {"__future__"}
        if not any(fnmatch(path.relative_to(ROOT).as_posix(), home) for home in HOMES.get(library, ()))
    }
    assert not strays


@pytest.mark.parametrize("library", ["httpx", "httpx2", "trio", "tiktoken", "diskcache", "rich", "pytest"])
def test_heavy_libraries_are_not_imported_by_a_door(library: str) -> None:
    """Loading a client may load anyio and the standard library; whatever is heavy waits until it is needed."""
    for door in ("", "client", "blocking", "core", "config"):
        assert library not in foreign(door)


def test_computed_imports_are_few() -> None:
    """Imports by a computed name hide from this file, so each place that does it is written down."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in files().values()
        if any(word in path.read_text(encoding="utf-8") for word in ("import_module", "__import__(", "find_spec("))
    }
    assert users <= DYNAMIC


def test_the_test_tools_stay_out_of_the_product() -> None:
    """Only the test tools themselves and the command line import `fastclient.testing`."""
    users = {name for name in files() for one in imports(name) if (own(one.module) or "").startswith("testing")}
    assert {name for name in users if name.partition(".")[0] not in ("testing", "cli")} == set()


@pytest.mark.parametrize("edge", ["wire.family", "engine.seam", "engine.detached"])
def test_pure_files_know_no_edge(edge: str) -> None:
    """Providers, observers and the vocabulary never reach for the network or the loop."""
    users = {name for name in files() for one in imports(name) if own(one.module) == edge and not one.typing}
    assert not users & {*VALUES, *PURE}
    assert not {name for name in users if name.startswith(("providers", "observe"))}


def cycle(edges: Mapping[str, set[str]]) -> tuple[str, ...]:
    """One chain of imports that comes back to its start; empty if there is none."""
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> tuple[str, ...]:
        if name in path:
            return (*path[path.index(name) :], name)
        for after in sorted(edges[name]) if name not in finished else ():
            if circle := visit(after, (*path, name)):
                return circle
        finished.add(name)
        return ()

    return next((circle for name in edges if (circle := visit(name, ()))), ())


@pytest.mark.parametrize("lazy", [False, True])
def test_there_are_no_cycles_at_run_time(lazy: bool) -> None:
    """Modules can be loaded in any order: no chain of imports comes back, nor (but for the named) in functions."""
    edges = {
        name: {
            home
            for one in imports(name)
            if not one.typing and (lazy or not one.lazy) and (home := own(one.module)) in files()
            if not (one.lazy and (name, home) in LAZY_CYCLES)
        }
        for name in files()
    }
    assert cycle(edges) == ()


def test_a_cycle_is_found() -> None:
    """The search above sees a cycle that does not contain the module it starts from."""
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ("b", "c", "b")


@pytest.mark.parametrize("name", sorted(files()))
def test_every_module_says_what_it_is(name: str) -> None:
    """Each file starts with a docstring and each public one lists its names, all of which exist."""
    tree = ast.parse(files()[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    lists = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    if files()[name].name not in ("__init__.py", "_version.py", "__main__.py"):
        assert lists, "no __all__"
