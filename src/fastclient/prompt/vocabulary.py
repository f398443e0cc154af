"""Exact counts with tiktoken, once one of its vocabularies has been loaded; nothing on a call's path waits for that.

A thread of its own loads each vocabulary, from tiktoken's folder or, where that was asked for, from the network. Until
then, and whenever that fails, `ready` says None and the estimator counts.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha1, sha256
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from math import ceil, inf
from socket import SHUT_RDWR, socket
from tempfile import gettempdir, mkstemp
from threading import Thread, Timer
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPHandler, HTTPSHandler, Request, build_opener

from fastclient.checks import one_of, seconds
from fastclient.locks import Locked
from fastclient.prompt.tokens import estimate

__all__ = ["VOCABULARY", "Origin", "Vocabulary", "encoding_for"]

logger = logging.getLogger("fastclient")

_HOME = "https://openaipublic.blob.core.windows.net/encodings/"
_O200K = re.compile(r"gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5(?!\d)|chatgpt-|o[134](?![^-])")
_CL100K = re.compile(r"gpt-4(?![^-])|gpt-3\.5|gpt-35")


@dataclass(frozen=True, slots=True)
class Origin:
    """A vocabulary: where its file is from, what the file must be, and the pattern by which it has texts split."""

    name: str
    url: str
    digest: str  # SHA-256
    pattern: str


# As in tiktoken_ext.openai_public, whose own way to them is a download without limits.
_ORIGINS = (
    Origin(
        "cl100k_base",
        _HOME + "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    Origin(
        "o200k_base",
        _HOME + "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
)


def encoding_for(model: str) -> str | None:
    """The name of the vocabulary that a model of OpenAI's counts with; None for models of others."""
    name = model.rpartition("/")[2].removeprefix("ft:")
    if _O200K.match(name):
        return "o200k_base"
    return "cl100k_base" if _CL100K.match(name) else None


class Vocabulary(Locked):
    """Loads vocabularies and hands out counters. A process needs one, `VOCABULARY`, and shares it among its threads.

    A vocabulary takes 90 MB, and the last fifth of a second of its loading stops all of Python's threads.
    """

    __slots__ = ("_counters", "_failed", "_origins", "_threads")

    def __init__(self, origins: Iterable[Origin] = _ORIGINS) -> None:
        super().__init__()
        self._origins = {origin.name: origin for origin in origins}
        self._counters: dict[str, _Counter] = {}
        self._threads: dict[str, Thread] = {}  # those of a parent process are not alive in its child
        self._failed: dict[tuple[str, bool], float] = {}  # when, by encoding and whether it was to be downloaded

    def ready(self, encoding: str) -> Callable[[str], int] | None:
        """What counts the tokens of a text exactly, if that is loaded. The counter never raises."""
        counter = self._counters.get(encoding)
        return None if counter is None or counter.broken else counter

    def load(self, encoding: str, *, download: bool = False, timeout: float = 30.0) -> None:
        """Have a vocabulary loaded in the background, if it is not yet; after a failure, not again for some minutes.

        It is read from tiktoken's folder. If it is not there, and only with `download`, it is fetched first, within
        `timeout` seconds, and put there.
        """
        one_of("encoding", encoding, list(self._origins))
        seconds("timeout", timeout)
        if encoding in self._counters:
            return
        with self.lock:
            if self._is_due(encoding, download):
                self._start(encoding, download, timeout)

    def _is_due(self, encoding: str, download: bool) -> bool:
        thread = self._threads.get(encoding)
        if (thread is not None and thread.is_alive()) or encoding in self._counters:  # in this order: it may just end
            return False
        return monotonic() >= self._failed.get((encoding, download), -inf) + _FORGOTTEN

    def _start(self, encoding: str, download: bool, timeout: float) -> None:
        work = partial(self._load, self._origins[encoding], download, timeout)
        thread = Thread(target=work, name=f"fastclient {encoding}", daemon=True)
        if not self._threads:
            atexit.register(self._leave)
        try:
            thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is about to end
            self._note(encoding, download, error)
        else:
            self._threads[encoding] = thread

    def _leave(self) -> None:
        """The interpreter is exiting: end what is under way. Some releases crash if a thread runs on (3.13.0)."""
        for limit in [*_under_way]:
            limit.shut()
        for thread in [*self._threads.values()]:
            thread.join(_PARTING)

    def _load(self, origin: Origin, download: bool, timeout: float) -> None:
        try:
            self._counters[origin.name] = _Counter(_encoder(origin, _data(origin, download, timeout)))
        except BaseException as error:  # nobody is above this thread, and tiktoken's panics are no Exceptions
            self._note(origin.name, download, error)

    def _note(self, encoding: str, download: bool, error: BaseException) -> None:
        """Remember a failure; say so the first time. That a file is not there is usual where nobody asked for it."""
        if (encoding, download) not in self._failed:
            level = logging.DEBUG if isinstance(error, FileNotFoundError) else logging.WARNING
            logger.log(level, "vocabulary %s was not loaded (%s): estimates go on", encoding, type(error).__name__)
        self._failed[encoding, download] = monotonic()


VOCABULARY = Vocabulary()

_PARTING = 0.5  # seconds that exiting waits for a thread
_FORGOTTEN = 300.0  # seconds after which what failed is tried again


# --- counting ---------------------------------------------------------------------------------------------------------

_PIECE = 65_536  # characters; on a blank run of ten times that tiktoken panics


class _Counter:
    """Counts with an encoder; after the encoder has panicked, with the estimator."""

    __slots__ = ("_encode", "broken")

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self.broken = False

    def __call__(self, text: str) -> int:
        if not self.broken:
            try:
                return sum(len(self._encode(piece)) for piece in _pieces(text))
            except Exception:
                logger.debug("a text could not be encoded: it was estimated")
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                self.broken = True
                logger.warning("tiktoken panicked: estimates go on without it")
        return ceil(estimate(text))


def _pieces(text: str) -> Iterator[str]:
    """A long text in pieces, cut before blanks where there are any, as tokens do not reach over those."""
    start = 0
    while len(text) - start > _PIECE:
        blank = text.rfind(" ", start + 1, start + _PIECE)
        end = blank if blank > 0 else start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _encoder(origin: Origin, data: bytes) -> Callable[[str], list[int]]:
    """Not by way of `tiktoken.get_encoding`: that downloads without a limit, under a lock it shares with the app."""
    from tiktoken import Encoding

    ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines())}
    made = Encoding(origin.name, pat_str=origin.pattern, mergeable_ranks=ranks, special_tokens={})
    return made.encode_ordinary


# --- the file ---------------------------------------------------------------------------------------------------------

_LARGEST = 16 * 2**20  # bytes; the largest vocabulary has less than 4 MiB


class Mismatch(ValueError):
    """A file is not the one that its name promises."""


def _data(origin: Origin, download: bool, timeout: float) -> bytes:
    """The content of a vocabulary's file. One that is there and wrong is left alone."""
    path = _path(origin.url)
    if path and os.path.exists(path):
        with open(path, "rb") as file:
            return _verified(file.read(_LARGEST), origin)
    if not download:
        raise FileNotFoundError
    data = _verified(_fetched(origin.url, timeout), origin)
    try:
        _keep(path, data)
    except OSError as error:
        logger.debug("vocabulary %s was not kept (%s)", origin.name, type(error).__name__)
    return data


def _path(url: str) -> str:
    """Where tiktoken keeps the file; nowhere if it was told to keep none."""
    default = os.path.join(gettempdir(), "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    return folder and os.path.join(folder, sha1(url.encode(), usedforsecurity=False).hexdigest())


def _verified(data: bytes, origin: Origin) -> bytes:
    if sha256(data).hexdigest() != origin.digest:
        raise Mismatch
    return data


def _keep(path: str, data: bytes) -> None:
    if not path:
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    handle, temporary = mkstemp(dir=os.path.dirname(path))
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


# --- the network ------------------------------------------------------------------------------------------------------


def _fetched(url: str, timeout: float) -> bytes:
    limit = _Limit(timeout)
    _under_way.add(limit)
    try:
        with build_opener(_Handler(limit)).open(url, timeout=timeout) as response:
            return bytes(response.read(_LARGEST))
    except HTTPError as error:
        error.close()
        raise
    finally:
        limit.end()
        _under_way.discard(limit)


class _Limit:
    """Shuts the sockets of a download when its time is up: their own timeouts begin anew with each byte."""

    def __init__(self, timeout: float) -> None:
        self._until = monotonic() + timeout
        self._timers: list[Timer] = []
        self._sockets: list[socket] = []

    def watch(self, sock: socket) -> None:
        self._sockets.append(sock)
        timer = Timer(max(0.0, self._until - monotonic()), _shut, (sock,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def end(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def shut(self) -> None:
        for sock in self._sockets:
            _shut(sock)


_under_way: set[_Limit] = set()


def _shut(sock: socket) -> None:
    try:
        sock.shutdown(SHUT_RDWR)
    except OSError:  # it is closed already
        pass


class _Connection(HTTPConnection):
    """A connection that is watched from when it is open."""

    def __init__(self, limit: _Limit, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._limit = limit

    def connect(self) -> None:
        super().connect()
        self._limit.watch(self.sock)


class _Secure(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Handler(HTTPHandler, HTTPSHandler):
    """Makes urllib open such connections."""

    def __init__(self, limit: _Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Connection, self._limit), req)

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Secure, self._limit), req)
