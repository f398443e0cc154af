"""Exact counting: which vocabulary, loading one from disk and from a server of our own, and what goes wrong."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.errors import ConfigError
from fastclient.prompt import vocabulary
from fastclient.prompt.vocabulary import Origin, Vocabulary, encoding_for

TOKENS = [bytes([byte]) for byte in range(256)] + [b"ab", b"abab", b"  ", b" a"]
FILE = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(TOKENS))
TINY = Origin("tiny", "http://127.0.0.1:9/tiny.tiktoken", hashlib.sha256(FILE).hexdigest(), r" ?\w+|\s+(?!\S)|\s+|.")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken's folder, which is not there yet."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "kept"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "kept"


def path_of(origin: Origin, folder: Path) -> Path:
    return folder / hashlib.sha1(origin.url.encode()).hexdigest()


def stored(origin: Origin, folder: Path, data: bytes = FILE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(origin, folder)
    path.write_bytes(data)
    return path


def settle(within: float = 20.0) -> None:
    """Wait for the threads that load the tiny vocabulary."""
    for thread in threading.enumerate():
        if thread.name == "fastclient tiny":
            thread.join(within)
            assert not thread.is_alive()


def loaded(origin: Origin, *, download: bool = False, timeout: float = 10.0) -> Vocabulary:
    made = Vocabulary([origin])
    made.load("tiny", download=download, timeout=timeout)
    settle()
    return made


class Server:
    """Does the same to everyone who connects, and counts them."""

    def __init__(self, act: Callable[[socket.socket, threading.Event], None]) -> None:
        self.visits = 0
        self._act = act
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()
        self.origin = replace(TINY, url=f"http://127.0.0.1:{self._listener.getsockname()[1]}/tiny.tiktoken")

    def _run(self) -> None:
        while True:
            visitor, _ = self._listener.accept()
            if self._closed.is_set():
                visitor.close()
                return
            self.visits += 1
            self._threads.append(threading.Thread(target=self._serve, args=(visitor,)))
            self._threads[-1].start()

    def _serve(self, visitor: socket.socket) -> None:
        with visitor:
            try:
                visitor.recv(65_536)
                self._act(visitor, self._closed)
            except OSError:  # the visitor has left
                pass

    def close(self) -> None:
        self._closed.set()
        socket.create_connection(self._listener.getsockname()).close()  # wakes the accept
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def server(act: Callable[[socket.socket, threading.Event], None]) -> Iterator[Server]:
    made = Server(act)
    try:
        yield made
    finally:
        made.close()
        settle()


def serving(data: bytes, status: str = "200 OK") -> Callable[[socket.socket, threading.Event], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    return lambda visitor, closed: visitor.sendall(head + data)


def dripping(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Says this much at once, and then a byte every 20 ms for as long as anybody listens."""

    def act(visitor: socket.socket, closed: threading.Event) -> None:
        visitor.sendall(head)
        while not closed.wait(0.02):
            visitor.sendall(b"x")

    return act


def silent(visitor: socket.socket, closed: threading.Event) -> None:
    closed.wait()


# --- which one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, encoding",
    [
        *((name, "o200k_base") for name in ("gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4.1", "gpt-5", "gpt-5.6-pro")),
        *((name, "o200k_base") for name in ("o1", "o1-mini", "o3-pro", "o4-mini", "chatgpt-4o-latest")),
        *((name, "o200k_base") for name in ("openai/gpt-4o", "ft:gpt-4o-mini:acme::x1")),
        *((name, "cl100k_base") for name in ("gpt-4", "gpt-4-turbo", "gpt-4-0613", "gpt-3.5-turbo", "gpt-35-turbo")),
        *((name, None) for name in ("", "claude-opus-4", "gemini-2.5-pro", "gpt-2", "gpt-50", "o10", "olmo", "gpt-4x")),
    ],
)  # fmt: skip
def test_models_and_their_vocabularies(model: str, encoding: str | None) -> None:
    """OpenAI's models have one, under their own names, a gateway's or a tuner's; nobody else's model has."""
    assert encoding_for(model) == encoding


def test_asking_loads_nothing() -> None:
    """Neither the question which vocabulary, nor whether it is ready, nor a load in vain imports tiktoken."""
    code = (
        "import sys, threading\nfrom fastclient.prompt.vocabulary import VOCABULARY, encoding_for\n"
        "VOCABULARY.load(encoding_for('gpt-4o'))\n"
        "[thread.join() for thread in threading.enumerate() if thread.daemon]\n"
        "print(VOCABULARY.ready('o200k_base'), 'tiktoken' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "None False\n"
    assert answer.stderr == ""


@pytest.mark.parametrize("origin", vocabulary._ORIGINS, ids=lambda origin: origin.name)
def test_the_vocabularies_are_those_of_tiktoken(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses, digests and patterns are the library's own."""
    from tiktoken_ext import openai_public  # type: ignore[import-untyped]

    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(
        openai_public, "load_tiktoken_bpe", lambda url, expected_hash: asked.append((url, expected_hash))
    )
    assert openai_public.ENCODING_CONSTRUCTORS[origin.name]()["pat_str"] == origin.pattern
    assert asked == [(origin.url, origin.digest)]


# --- from disk --------------------------------------------------------------------------------------------------------


def test_a_vocabulary_on_disk_is_loaded(folder: Path) -> None:
    """From tiktoken's own folder; then texts are counted as tiktoken counts them."""
    stored(TINY, folder)
    count = loaded(TINY).ready("tiny")
    assert count is not None
    assert [count(text) for text in ("", "a", "ab", "abab", "ababab", "é", " ab ab")] == [0, 1, 1, 1, 2, 2, 4]


@pytest.mark.parametrize("name", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "TMPDIR"])
def test_it_is_looked_for_where_tiktoken_keeps_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two variables that is set, else a folder among the temporary files."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv(name, str(tmp_path))
    stored(TINY, tmp_path / "data-gym-cache" if name == "TMPDIR" else tmp_path)
    assert loaded(TINY).ready("tiny")


def test_what_is_not_on_disk_is_not_fetched(folder: Path) -> None:
    """Without being asked to, nothing goes to the network, and no folder is made."""
    with server(serving(FILE)) as upstream:
        assert loaded(upstream.origin).ready("tiny") is None
        assert upstream.visits == 0
    assert not folder.exists()


@pytest.mark.parametrize("data", [b"", FILE[:-1], b"\xff" * 100], ids=["empty", "cut", "noise"])
def test_a_wrong_file_is_left_alone(data: bytes, folder: Path) -> None:
    """It is not used, not deleted and not replaced, also if a download is allowed."""
    with server(serving(FILE)) as upstream:
        path = stored(upstream.origin, folder, data)
        assert loaded(upstream.origin, download=True).ready("tiny") is None
        assert upstream.visits == 0
    assert path.read_bytes() == data


def test_a_hanging_tiktoken_stops_nobody(folder: Path) -> None:
    """Another part of the app that holds tiktoken's lock while it waits for a download does not hold up a load."""
    from tiktoken import registry

    stored(TINY, folder)
    held, done = threading.Event(), threading.Event()

    def hang() -> None:
        with registry._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    held.wait()
    try:
        assert loaded(TINY).ready("tiny")
    finally:
        done.set()
        thread.join()


# --- from the network -------------------------------------------------------------------------------------------------


def test_a_download_is_kept_for_the_next_process(folder: Path) -> None:
    """A vocabulary that is not there is fetched once, put where tiktoken looks, and nobody else may read it."""
    with server(serving(FILE)) as upstream:
        assert loaded(upstream.origin, download=True).ready("tiny")
        path = path_of(upstream.origin, folder)
        assert path.read_bytes() == FILE
        assert list(folder.iterdir()) == [path]
        if os.name == "posix":
            assert (S_IMODE(folder.stat().st_mode), S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
        assert loaded(upstream.origin, download=True).ready("tiny")
        assert upstream.visits == 1


def test_a_download_that_cannot_be_kept_is_used(folder: Path) -> None:
    """Where the folder cannot be made, the vocabulary serves this process."""
    folder.write_text("a file")
    with server(serving(FILE)) as upstream:
        assert loaded(upstream.origin, download=True).ready("tiny")


def test_no_folder_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With tiktoken's folder switched off, a download is used and left nowhere."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.chdir(tmp_path)
    with server(serving(FILE)) as upstream:
        assert loaded(upstream.origin, download=True).ready("tiny")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "act",
    [
        serving(FILE[::-1]),
        serving(b""),
        serving(FILE + b"\n"),
        serving(FILE, "404 Not Found"),
        serving(FILE, "500 Oops"),
        lambda visitor, closed: visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + FILE[:-9]),
        lambda visitor, closed: visitor.sendall(b"220 mail.example ESMTP\r\n"),
        lambda visitor, closed: None,
    ],
    ids=["noise", "empty", "longer", "404", "500", "cut", "no http", "closed"],
)
def test_a_wrong_download_is_nothing(act: Callable[[socket.socket, threading.Event], None], folder: Path) -> None:
    """Whatever else a server sends is neither used nor kept."""
    with server(act) as upstream:
        made = loaded(upstream.origin, download=True)
        assert upstream.visits == 1
    assert made.ready("tiny") is None
    assert not folder.exists()


def test_an_endless_download_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than any vocabulary has."""
    monkeypatch.setattr(vocabulary, "_LARGEST", 1000)
    with server(serving(FILE)) as upstream:
        assert loaded(upstream.origin, download=True).ready("tiny") is None
    assert not folder.exists()


@pytest.mark.parametrize(
    "act",
    [silent, dripping(b""), dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "), dripping(b"HTTP/1.1 200 OK\r\n\r\n")],
    ids=["silent", "drips from the start", "drips headers", "drips the body"],
)
def test_a_slow_server_has_its_time(act: Callable[[socket.socket, threading.Event], None]) -> None:
    """The time for the whole download is up when it is up, however many bytes keep coming; nobody waits for it."""
    with server(act) as upstream:
        made = Vocabulary([upstream.origin])
        made.load("tiny", download=True, timeout=0.3)
        assert made.ready("tiny") is None
        settle(within=10.0)  # it would go on for as long as the server does
        assert made.ready("tiny") is None


def test_one_thread_for_each_vocabulary() -> None:
    """However many callers ask, and however often, one download is under way."""
    with server(silent) as upstream:
        made = Vocabulary([upstream.origin])
        callers = [
            threading.Thread(target=made.load, args=("tiny",), kwargs={"download": True, "timeout": 0.5})
            for _ in range(8)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        made.load("tiny")
        assert sum(thread.name == "fastclient tiny" for thread in threading.enumerate()) == 1
        settle()
        assert upstream.visits == 1


def test_a_failure_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure calls are left alone for some minutes; then it is tried again."""
    with server(serving(b"", "503 Busy")) as upstream:
        made = loaded(upstream.origin, download=True)
        for _ in range(3):
            made.load("tiny", download=True)
            settle()
        assert upstream.visits == 1
        monkeypatch.setattr(vocabulary, "_FORGOTTEN", 0.0)
        made.load("tiny", download=True)
        settle()
        assert upstream.visits == 2


def test_a_missing_file_does_not_forbid_a_download() -> None:
    """Who allows the download later gets it at once."""
    with server(serving(FILE)) as upstream:
        made = loaded(upstream.origin)
        made.load("tiny", download=True)
        settle()
        assert made.ready("tiny")


def test_failures_are_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """By their class, without addresses or paths; a file that is merely not there is no warning."""
    monkeypatch.setattr(vocabulary, "_FORGOTTEN", 0.0)
    caplog.set_level("DEBUG", logger="fastclient")
    made = loaded(TINY)
    stored(TINY, folder, b"noise")
    for _ in range(3):
        made.load("tiny", download=True)
        settle()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "vocabulary tiny was not loaded (FileNotFoundError): estimates go on"),
        ("WARNING", "vocabulary tiny was not loaded (Mismatch): estimates go on"),
    ]


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot start another thread goes on with estimates."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = Vocabulary([TINY])
    made.load("tiny")
    assert made.ready("tiny") is None


def test_a_pattern_that_tiktoken_refuses(folder: Path) -> None:
    """Whatever tiktoken makes of a vocabulary, the caller does not see it."""
    stored(TINY, folder)
    assert loaded(replace(TINY, pattern="(")).ready("tiny") is None


@pytest.mark.parametrize("name, options", [("huge", {}), ("tiny", {"timeout": 0}), ("tiny", {"timeout": float("nan")})])
def test_bad_requests(name: str, options: dict[str, float]) -> None:
    """Unknown vocabularies and impossible times are refused; asking for an unknown one is not."""
    made = Vocabulary([TINY])
    with pytest.raises(ConfigError):
        made.load(name, timeout=options.get("timeout", 1.0))
    assert made.ready("huge") is None


# --- counting ---------------------------------------------------------------------------------------------------------


class PanicException(BaseException):
    """As the one of tiktoken, which no `except Exception` sees."""


def test_a_panic_never_reaches_the_caller(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is estimated, the encoder is not asked again, and the vocabulary is no longer ready."""
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        raise PanicException("called `Result::unwrap()` on an `Err` value")

    stored(TINY, folder)
    monkeypatch.setattr(vocabulary, "_encoder", lambda origin, data: encode)
    made = loaded(TINY)
    count = made.ready("tiny")
    assert count is not None
    for _ in range(3):
        assert count("Hello, world!") == 4
    assert asked == ["Hello, world!"]
    assert made.ready("tiny") is None


def test_other_failures_are_of_one_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error is a matter of the text; a caller's interruption is passed on."""

    def encode(text: str) -> list[int]:
        if text == "stop":
            raise KeyboardInterrupt
        return [len(text)] if text == "good" else [][1]

    stored(TINY, folder)
    monkeypatch.setattr(vocabulary, "_encoder", lambda origin, data: encode)
    made = loaded(TINY)
    count = made.ready("tiny")
    assert count is not None
    assert (count("Hello, world!"), count("good")) == (4, 1)
    with pytest.raises(KeyboardInterrupt):
        count("stop")
    assert made.ready("tiny") is count


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """A counter with the tiny vocabulary."""
    count = vocabulary._Counter(vocabulary._encoder(TINY, FILE))
    assert not count.broken
    return count


@settings(max_examples=50)
@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_every_text_is_counted(tiny: Callable[[str], int], text: str) -> None:
    """Any text has a count, half a surrogate pair included, and a text of one byte per token has that many."""
    assert (tiny(text) > 0) == bool(text)
    assert tiny("b" * len(text)) == len(text)


@pytest.mark.parametrize("text, tokens", [(" " * 10**6, 500_000), ("a" * 10**6, 10**6), ("ab" * 10**5, 50_000)])
def test_long_runs_are_counted(tiny: Callable[[str], int], text: str, tokens: int) -> None:
    """A million blanks, on which tiktoken itself panics, have their tokens, but for one at each seam."""
    assert tokens <= tiny(text) <= tokens + 16


def test_cutting_long_texts_loses_nothing(tiny: Callable[[str], int]) -> None:
    """Words are not torn at the seams: a long text has the tokens of its words."""
    text = " abab" * 100_000
    assert tiny(text) == 100_000 * tiny(" abab")
    pieces = list(vocabulary._pieces(text + "x" * 200_000))
    assert "".join(pieces) == text + "x" * 200_000
    assert max(map(len, pieces)) <= 65_536


# --- never waited for -------------------------------------------------------------------------------------------------


def test_asking_costs_no_time() -> None:
    """A thousand calls that want a vocabulary from a silent server are over long before its time is up."""
    with server(silent) as upstream:
        made = Vocabulary([upstream.origin])
        begin = time.monotonic()
        for _ in range(1000):
            made.load("tiny", download=True, timeout=60.0)
            assert made.ready("tiny") is None
        assert time.monotonic() - begin < 10


FORKED = """
import os, sys, time
from fastclient.prompt.vocabulary import Origin, Vocabulary

def wait(made, name):
    until = time.monotonic() + 20
    while not made.ready(name) and time.monotonic() < until:
        time.sleep(0.01)
    return made.ready(name)

hanging, there = {origins}
made = Vocabulary([hanging, there])
made.load("there")
assert wait(made, "there")
made.load("tiny", download=True)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.link(*sys.argv[1:])
made.load("tiny")
os._exit(0 if made.ready("there")("abab") == 1 and wait(made, "tiny") else 7)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_loads_for_itself(folder: Path) -> None:
    """A child of a process whose load hangs is not bound by it; what was loaded before the fork, it has."""
    there = replace(TINY, name="there")
    with server(silent) as upstream:
        paths = [stored(there, folder), path_of(upstream.origin, folder)]
        code = FORKED.format(origins=(upstream.origin, there))
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, paths)], check=True, timeout=60)
