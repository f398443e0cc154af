"""The pure parts of our own HTTP: what is written as a request, and what is read as a response, cut at any byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclient.errors import ConfigError
from fastclient.wire.direct.head import Route, route
from fastclient.wire.direct.parser import Malformed, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"


def chunks(*pieces: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def read(*data: bytes) -> tuple[ResponseParser, bytes]:
    """A parser fed with these pieces, and the body it gave."""
    parser, body = ResponseParser(), b""
    for piece in data:
        parser.feed(piece)
        if parser.status:
            body += parser.take()
    return parser, body


# responses

BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A response in any of the forms with a known end, and its body."""
    pieces = draw(BODIES)
    body = b"".join(pieces)
    head = draw(st.sampled_from([b"", EARLY, b"HTTP/1.1 100 Continue\r\n\r\n" * 2])) + OK + b"x-One: a\r\nx-one: b\r\n"
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), body
    trailers = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"x-one: c\r\ncontent-length: 7\r\n"]))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(*pieces, trailers=trailers), body


@settings(max_examples=150, deadline=None)
@given(responses(), st.lists(st.integers(0, 400), max_size=8))
def test_any_pieces_are_the_same_response(response: tuple[bytes, bytes], cuts: list[int]) -> None:
    """However the network cuts a response, its status, fields, body and end are the same."""
    data, body = response
    places = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    parser, got = read(*[data[start:end] for start, end in pairwise(places) if start < end])
    assert (parser.status, got, parser.complete, parser.reusable) == (200, body, True, True)
    assert parser.fields["x-one"] == "a, b"


def test_a_response_byte_by_byte() -> None:
    """Every single cut at once: interim responses, chunks with extensions, and trailers included."""
    data = EARLY + CHUNKED + b"2;a=b\r\nhi\r\n" + chunks(b"abc", trailers=b"x: y\r\n")
    parser, got = read(*[data[at : at + 1] for at in range(len(data))])
    assert (parser.status, dict(parser.fields), got, parser.reusable) == (
        200,
        {"transfer-encoding": "chunked"},
        b"hiabc",
        True,
    )


FRAMING = (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"proxy-connection", b"keep-alive")
FIELD = st.tuples(
    st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True).filter(
        lambda name: name.lower() not in FRAMING
    ),
    st.from_regex(rb"([!-~\x80-\xff]([\t -~\x80-\xff]{0,12}[!-~\x80-\xff])?)?", fullmatch=True),
)
BLANK = st.sampled_from([b"", b" ", b"\t ", b"  "])


@settings(max_examples=200, deadline=None)
@given(st.lists(FIELD, max_size=20), BLANK, BLANK, st.sampled_from([b"\r\n", b"\n"]), st.integers(0, 2))
def test_fields_are_given_as_they_came(
    fields: list[tuple[bytes, bytes]], before: bytes, behind: bytes, end: bytes, interim: int
) -> None:
    """Names, values and their order are those of the final head, without the blanks around values; equal names join."""
    lines = [b"HTTP/1.1 200 a: b", *[name + b":" + before + value + behind for name, value in fields]]
    parser, _ = read(EARLY * interim + end.join([*lines, b"content-length: 0"]) + end + end)
    assert list(parser.fields.raw) == [*fields, (b"content-length", b"0")]
    for name in {name.lower() for name, _ in fields}:
        values = [value for other, value in fields if other.lower() == name]
        assert parser.fields[name.decode()] == b", ".join(values).decode("latin-1")


@settings(max_examples=150, deadline=None)
@given(responses(), st.floats(0, 1, exclude_max=True))
def test_half_a_response_is_never_complete(response: tuple[bytes, bytes], share: float) -> None:
    """Cut off anywhere before its last byte, a response is neither complete nor does a closed connection make it so."""
    data, body = response
    parser, got = read(data[: int(len(data) * share)] or b"H")
    assert body.startswith(got)
    assert not parser.complete
    assert not parser.reusable
    with pytest.raises(EOFError):
        parser.end()


FORMS = {
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", b"", True),
    "empty value": (OK + b"x-empty:\r\ncontent-length: 2\r\n\r\nhi", b"hi", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", b"hi", True),
    "says close": (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", b"hi", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", False),
    "HTTP/1.0, kept": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", b"hi", True),
    "offers another protocol": (
        OK + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nhi",
        b"hi",
        True,
    ),
    "upper-case size": (CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", True),
    "spaces after the size": (CHUNKED + b"2  \r\nhi\r\n0\r\n\r\n", b"hi", True),
    "bare line ends": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", b"hi", True),
    "a length beside chunks": (CHUNKED[:-2] + b"content-length: 9\r\n\r\n" + chunks(b"hi"), b"hi", False),
    "one more byte": (OK + b"content-length: 2\r\n\r\nhi!", b"hi", False),
    "one more response": ((OK + b"content-length: 2\r\n\r\nhi") * 2, b"hi", False),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_complete_response(form: str) -> None:
    """Each form ends where it should, without waiting for more; only what is in order leaves a usable connection."""
    data, body, reusable = FORMS[form]
    parser, got = read(data)
    assert (got, parser.complete, parser.reusable) == (body, True, reusable)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Neither length nor chunks: the body goes on until the server hangs up, and the connection is gone."""
    parser, body = read(OK + b"\r\nabc", b"def")
    assert not parser.complete
    parser.end()
    assert (body, parser.complete, parser.reusable) == (b"abcdef", True, False)


HEADS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
    "signed length": OK + b"content-length: +3\r\n\r\nabc",
    "folded": OK + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "a NUL": OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    "other coding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n" + chunks(b"hi"),
    "long value": OK + b"x: " + b"a" * 2**16 + b"\r\n\r\n",
    "no end": OK + b"x: " + b"a" * 2**17,
    "many fields": OK + b"x: y\r\n" * 257 + b"\r\n",
    "many interim": EARLY * 4000,
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [2**20, 1000])
def test_what_is_no_head(head: str, size: int) -> None:
    """What is no HTTP, ambiguous, or longer than a head may be is refused, and no status is taken from it first."""
    data = HEADS[head]
    parser = ResponseParser()
    with pytest.raises(Malformed):
        for at in range(0, len(data), size):
            parser.feed(data[at : at + size])
    assert not parser.reusable


def test_what_came_before_a_broken_chunk_is_given_first() -> None:
    """The body up to the breakage is delivered, then the breakage is told, however they were cut."""
    data = CHUNKED + b"2\r\nhi\r\nzz\r\n"
    for cut in (len(data), len(data) - 4):
        parser, body = ResponseParser(), b""
        with pytest.raises(Malformed):
            for piece in (data[:cut], data[cut:] or b"more"):
                parser.feed(piece)
                body += parser.take()
            parser.take()
        assert (body, parser.complete) == (b"hi", False)


# requests


def way(url: str) -> Route:
    found = route(url)
    assert found is not None
    return found


URLS = {
    "https://api.test/v1/chat": ("api.test", 443, True, "/v1/chat", "api.test"),
    "https://API.test:443": ("api.test", 443, True, "/", "api.test"),
    "http://127.0.0.1:8080/a?b=c%20d": ("127.0.0.1", 8080, False, "/a?b=c%20d", "127.0.0.1:8080"),
    "http://[::1]:80/": ("::1", 80, False, "/", "[::1]"),
    "https://[2001:db8::1]:444/x": ("2001:db8::1", 444, True, "/x", "[2001:db8::1]:444"),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_read(url: str) -> None:
    """Host, port, path and the `host` header are what the URL says; a default port is not repeated."""
    host, port, secure, target, named = URLS[url]
    found = way(url)
    assert found.place == (host, port, secure)
    assert found.head("GET", {}, 0) == f"GET {target} HTTP/1.1\r\nhost: {named}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/", "https://", "https://user:pass@host/", "https://host:0/", "https://host:70000/"),
        *("https://host/a b", "https://host/ü", "https://hö.test/", "https://host/a/../b", "https://host/#x"),
        *("https://host\r\n/", "https://host/\r\nx: y", "https://host/\0", "https://" + "a" * 64 + ".test/"),
    ],
)
def test_an_unusual_url_is_left_to_others(url: str) -> None:
    """What would have to be escaped, resolved or refused is not guessed at."""
    assert route(url) is None


def test_equal_headers_give_the_same_head_and_changed_ones_another() -> None:
    """A head may be kept, but never one that is out of date, even if the same mapping was changed in between."""
    found, headers = way("https://host/x"), {"a": "1"}
    first = found.head("POST", headers, 5)
    assert first == b"POST /x HTTP/1.1\r\nhost: host\r\na: 1\r\ncontent-length: 5\r\n\r\n"
    headers["a"] = "2"
    assert found.head("POST", headers, 5) == first.replace(b"a: 1", b"a: 2")
    assert found.head("POST", {"a": "1"}, 6) == first.replace(b"length: 5", b"length: 6")
    assert found.head("GET", {"a": "1"}, 5).startswith(b"GET ")


def test_framing_is_ours() -> None:
    """A caller's own length or coding would contradict the body that is sent; a caller's host is respected."""
    headers = {"Content-Length": "99", "transfer-encoding": "chunked", "Host": "other.test"}
    head = way("https://host/").head("POST", headers, 2)
    assert head == b"POST / HTTP/1.1\r\nHost: other.test\r\ncontent-length: 2\r\n\r\n"


SPLIT = ["secret\r\nx: y", "secret\n", "\rsecret", "secret\0", "secret\x7f", "sécret", "secret\u2028"]


@pytest.mark.parametrize("value", SPLIT)
@pytest.mark.parametrize("place", ["name", "value", "method"])
def test_nothing_can_be_smuggled_into_a_head(value: str, place: str) -> None:
    """Line ends, control characters and what is not ASCII are refused, and not shown: they may stand beside a key."""
    headers = {value: "x"} if place == "name" else {"x": value} if place == "value" else {}
    with pytest.raises(ConfigError) as caught:
        way("https://host/").head(value if place == "method" else "POST", headers, 0)
    assert "cret" not in str(caught.value)
