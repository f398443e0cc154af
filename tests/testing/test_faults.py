"""Each scripted fault, seen from a socket."""

import socket
import time

import pytest

from fastclient.testing import (
    Close,
    Comment,
    EndBody,
    ErrorEvent,
    Event,
    Finish,
    Hang,
    Malformed,
    Ping,
    Role,
    Send,
    Split,
    Status,
    Tokens,
    Wait,
    blackhole,
    faults,
)
from tests.testing.raw import Raw, unchunked

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GEMINI = "/v1beta/models/m:streamGenerateContent?alt=sse"
TERMINAL = {
    CHAT: b"[DONE]",
    MESSAGES: b"event: message_stop",
    RESPONSES: b"event: response.completed",
    GEMINI: b"finishReason",
}
PINGS = {
    CHAT: b": ping\n\n",
    MESSAGES: b'event: ping\ndata: {"type":"ping"}\n\n',
    RESPONSES: b'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n',
    GEMINI: b": ping\n\n",
}
PIECES = (b'{"content":"', b"text_delta", b'"response.output_text.delta","seq', b'"parts":[{"text":"')
each = pytest.mark.parametrize("path", TERMINAL)


def played(provider_server, plan, path: str = CHAT, *, stream: bool = True) -> bytes:
    with Raw(provider_server(script=[plan])) as client:
        return client.ask(path=path, stream=stream).answer()


def contents(answer: bytes) -> int:
    return sum(map(answer.count, PIECES)) - answer.count(b'{"text":""}')


def last_event(answer: bytes) -> bytes:
    return answer.replace(b"\r\n", b"\n").strip().rpartition(b"\n\n")[2]


@each
def test_silence_then_an_answer(provider_server, path: str) -> None:
    """`silent` sends nothing, not even headers, and then everything."""
    with Raw(provider_server(script=[faults.silent(0.3)])) as client:
        start = time.monotonic()
        client.ask(path=path).socket.recv(1)
        assert time.monotonic() - start > 0.29
        assert client.until(b"\r\n0\r\n\r\n").count(TERMINAL[path]) == 1


@each
def test_headers_then_silence(provider_server, path: str) -> None:
    """`headers_then_silence` sends the head at once and nothing else for a while."""
    with Raw(provider_server(script=[faults.headers_then_silence(30)]), timeout=0.3) as client:
        assert b"text/event-stream" in client.ask(path=path).until(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.socket.recv(1)


@each
def test_role_then_silence(provider_server, path: str) -> None:
    """`role_then_silence` sends the events without content, then nothing for a while."""
    with Raw(provider_server(script=[faults.role_then_silence(30)]), timeout=0.3) as client:
        client.ask(path=path).until(b"\r\n\r\n")
        assert contents(client.socket.recv(65536)) == 0
        with pytest.raises(TimeoutError):
            client.rest()


@each
def test_pings_and_comments_come_before_content(provider_server, path: str) -> None:
    """`pings` and `comments` keep the connection busy without content."""
    answer = unchunked(played(provider_server, faults.pings(0.02, 0.1), path))
    assert answer.startswith(PINGS[path] * 5)
    answer = unchunked(played(provider_server, faults.comments(0.02, 0.1, "OPENROUTER PROCESSING"), path))
    assert answer.startswith(b": OPENROUTER PROCESSING\n\n" * 5)
    assert TERMINAL[path] in last_event(answer)


def test_blank_lines_before_json(provider_server) -> None:
    """A call without `stream` may get blank lines first; pings and comments become such lines."""
    for plan in (faults.blank_lines(0.01, 0.03), (Ping(), Comment(), Send(b"\n"), Role(), Tokens(2))):
        answer = unchunked(played(provider_server, plan, stream=False))
        assert answer.startswith(b'\n\n\n{"id"')


@each
def test_truncated(provider_server, path: str) -> None:
    """`truncated` ends the body cleanly after exactly so many tokens, without the terminal event."""
    answer = played(provider_server, faults.truncated(70), path)
    assert contents(answer) == 70
    assert TERMINAL[path] not in answer


def test_closed_in_the_body(provider_server) -> None:
    """`closed` ends the connection with neither last chunk nor terminal event."""
    with Raw(provider_server(script=[faults.closed(3)])) as client:
        answer = client.ask().rest()
    assert contents(answer) == 3
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("tokens", [0, 40])
def test_reset(provider_server, tokens: int) -> None:
    """`reset` tears the connection down after the tokens have left; the books count it as done."""
    server = provider_server(script=[faults.reset(tokens)])
    with Raw(server) as client:
        client.ask()
        got = b""
        with pytest.raises(ConnectionResetError):
            while True:
                got += client.socket.recv(65536) or pytest.fail("closed, not reset")
    assert contents(got) == tokens
    assert server.counters.completed == 1


def test_stall(provider_server) -> None:
    """`stall` sends its tokens and keeps the socket open in silence."""
    server = provider_server(script=[faults.stall(20)])
    with Raw(server, timeout=0.2) as client:
        client.ask()
        got = b""
        with pytest.raises(TimeoutError):
            while True:
                got += client.socket.recv(65536)
        assert server.counters.live == 1
    assert contents(got) == 20


def test_status_headers_and_body(provider_server) -> None:
    """`status` sends the provider's error body, extra headers as they stand, or a body of your own."""
    answer = played(provider_server, faults.status(429, retry_after="-1", headers={"x-should-retry": "false"}))
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"retry-after: -1\r\nx-should-retry: false\r\n" in answer
    assert b'"code":"rate_limit_exceeded"' in answer
    assert played(provider_server, faults.status(503, body=b"down")).endswith(b"\r\n\r\ndown")
    assert played(provider_server, faults.status(529)).startswith(b"HTTP/1.1 529 Overloaded\r\n")


def test_an_html_page(provider_server) -> None:
    """`html_page` is a 200 that is no answer."""
    answer = played(provider_server, faults.html_page())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/html")
    assert answer.endswith(b"</html>")


def test_an_error_whose_body_never_ends(provider_server) -> None:
    """`never_ending_error` sends headers and some of a body, then nothing."""
    with Raw(provider_server(script=[faults.never_ending_error()]), timeout=0.2) as client:
        assert client.ask().until(b"had an err").startswith(b"HTTP/1.1 500 ")
        with pytest.raises(TimeoutError):
            client.rest()


@each
def test_overloaded_inside_the_stream(provider_server, path: str) -> None:
    """`overloaded_event` is a 200 whose stream says it failed, and ends without the terminal event."""
    answer = unchunked(played(provider_server, faults.overloaded_event(2), path))
    assert contents(answer) == 2
    assert answer.index(b"Overloaded") > max(map(answer.rfind, PIECES))
    assert TERMINAL[path] not in answer


@each
def test_a_malformed_event_in_the_middle(provider_server, path: str) -> None:
    """`malformed` breaks one event; every token still comes."""
    broken = unchunked(played(provider_server, faults.malformed(3), path))
    whole = unchunked(played(provider_server, (), path))
    assert contents(broken) == contents(whole)
    assert len(broken) > len(whole)
    assert TERMINAL[path] in last_event(broken)


@each
def test_split_changes_no_byte(provider_server, path: str) -> None:
    """`split` cuts the answer into single bytes; put together it is the same answer."""
    cut = played(provider_server, faults.split(1), path)
    assert unchunked(cut) == unchunked(played(provider_server, (), path))
    assert cut.count(b"\r\n1\r\n") > 500


def test_split_makes_segments(provider_server) -> None:
    """A split step arrives in pieces of the size asked for when the client reads as they come."""
    plan = (Split(Status(200)), Split(Event("data: é\r\n\r\n".encode()), every=2, gap=0.01), Hang())
    with Raw(provider_server(script=[plan])) as client:
        client.ask().until(b"\r\n\r\n")
        pieces = [client.socket.recv(100) for _ in range(10)]
    assert {len(piece) for piece in pieces} == {2}
    assert b"".join(pieces).startswith(b"2\r\nda\r\n2\r\nta")


def test_steps_can_be_combined(provider_server) -> None:
    """A plan may mix own text, own events, errors and pauses; its texts become the answer."""
    plan = (Tokens("Grüß "), Comment("x"), Tokens("Gott", gap=0.01), Event(b"data: 1\n\n"), Malformed(), Wait(0.01))
    answer = unchunked(played(provider_server, (*plan, ErrorEvent("server_error", "Sorry"), Finish())))
    assert contents(answer) == 3
    assert answer.index("Grüß".encode()) < answer.index(b": x\n\n") < answer.index(b"Gott") < answer.index(b"Sorry")
    assert answer.endswith(b"data: [DONE]\n\n")


def test_plans_that_never_answer(provider_server) -> None:
    """`Close` before the headers is a FIN, `EndBody` an empty 200, `Hang` silence."""
    with Raw(provider_server(script=[(Close(),)])) as client:
        assert client.ask().rest() == b""
    assert played(provider_server, (EndBody(),)).endswith(b"content-length: 0\r\n\r\n")
    with Raw(provider_server(script=[faults.unanswered()]), timeout=0.1) as client, pytest.raises(TimeoutError):
        client.ask().rest()


def test_an_address_that_never_connects() -> None:
    """`blackhole` gives an origin where a connection attempt hangs."""
    with blackhole() as origin, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", int(origin.rpartition(":")[2])), timeout=0.3)
