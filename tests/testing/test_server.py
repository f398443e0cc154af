"""The loopback server: what it counts, how it speaks HTTP, and that it notices who leaves."""

import contextlib
import threading
import time

import httpx2
import pytest

from fastclient.testing import Answer, ProviderServer, ServerRequest, Wait, World, faults
from tests.testing.raw import Raw, unchunked


def test_an_exchange_is_counted_and_recorded(provider_server) -> None:
    """Counters and records hold what was asked and what was sent."""
    server = provider_server(answer="12345678")
    with Raw(server) as client:
        sent = client.ask("x" * 100).answer()
    counters, exchange = server.counters, server.exchanges[0]
    assert (counters.accepted, counters.completed, counters.live, counters.cut_early) == (1, 1, 0, 0)
    assert (counters.output_tokens, counters.input_tokens, counters.bytes_sent) == (2, 27, len(sent))
    assert (exchange.index, exchange.attempt, exchange.dialect, exchange.status) == (0, 0, "openai", 200)
    assert exchange.request.json["model"] == "m"
    assert exchange.request.text == "x" * 100
    assert exchange.started <= exchange.first_token <= exchange.ended


@pytest.mark.parametrize("plan", [faults.silent(30), faults.headers_then_silence(30), faults.stall(3), faults.slow(1)])
def test_a_client_that_leaves_is_noticed_at_once(provider_server, plan) -> None:
    """Within 250 ms of a disconnect nothing is live, and the exchange counts as cut early."""
    server = provider_server(script=[plan])
    with Raw(server) as client:
        client.ask()
        assert server.wait_for(lambda counters: counters.live == 1)
    assert server.wait_idle(0.25)
    assert (server.counters.cut_early, server.counters.completed) == (1, 0)
    assert server.exchanges[0].cut_early


def test_a_client_that_leaves_a_large_answer_is_noticed(provider_server) -> None:
    """Bytes the client never took are not a completed answer."""
    server = provider_server(answer="x" * 4_000_000)
    with Raw(server) as client:
        client.ask(stream=False).socket.recv(10)
    assert server.wait_idle(1)
    assert server.counters.cut_early == 1


def test_connections_are_reused(provider_server) -> None:
    """Three calls of one client share a connection, streamed or not."""
    server = provider_server()
    with Raw(server) as client:
        for stream in (True, False, True):
            assert client.ask(stream=stream).answer().startswith(b"HTTP/1.1 200 OK\r\n")
        assert (server.counters.connections, server.counters.open_connections) == (1, 1)


def test_pipelined_requests_are_answered_in_order(provider_server) -> None:
    """A second request sent early waits for the first answer."""
    server = provider_server(answer=lambda request: request.text)
    with Raw(server) as client:
        client.ask("first").ask("second")
        assert [b"firs" in client.answer(), b"seco" in client.answer()] == [True, True]


def test_connection_close_is_obeyed(provider_server) -> None:
    """`connection: close` gets an answer and then the end of the connection."""
    with Raw(provider_server()) as client:
        answer = client.send("HEAD / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n").rest()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer


def test_expect_continue(provider_server) -> None:
    """A client that waits for `100 Continue` gets it before it sends the body."""
    with Raw(provider_server()) as client:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        client.socket.sendall(head.encode())
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.socket.sendall(b"{}")
        assert client.answer().startswith(b"HTTP/1.1 200")


def test_a_chunked_request_body_in_single_bytes(provider_server) -> None:
    """A body sent in chunks, one byte per segment, is read like any other."""
    body = b'{"model":"m","messages":[{"role":"user","content":"hey"}]}'
    wire = b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    wire += b"".join(b"7;x=y\r\n%b\r\n" % body[at : at + 7] for at in range(0, 56, 7))
    wire += b"2\r\n%b\r\n0\r\n\r\n" % body[56:]
    server = provider_server()
    with Raw(server) as client:
        for at in range(len(wire)):
            client.socket.sendall(wire[at : at + 1])
        assert client.answer().startswith(b"HTTP/1.1 200")
    assert server.exchanges[0].request.text == "hey"


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"])
def test_what_is_not_http_gets_a_400(provider_server, sent: bytes) -> None:
    """Garbage is answered with 400 and the connection is closed."""
    with Raw(provider_server()) as client:
        client.socket.sendall(sent)
        assert client.rest().startswith(b"HTTP/1.1 400 ")


def test_unknown_paths_and_bad_json(provider_server) -> None:
    """Other paths get a 404, broken JSON a 400, both in the provider's shape."""
    server = provider_server()
    assert httpx2.post(f"{server.base_url}/nowhere").json()["error"]["type"] == "invalid_request_error"
    anthropic = httpx2.post(f"{server.origin}/nowhere", headers={"anthropic-version": "2023-06-01"})
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (404, "not_found_error")
    assert httpx2.post(f"{server.base_url}/chat/completions", content=b"{").status_code == 400


def test_repeated_bytes_are_attempts_of_one_request(provider_server) -> None:
    """The same body again is the next attempt; another body is another request."""
    server = provider_server()
    with Raw(server) as client:
        for prompt in ("a", "b", "a", "a"):
            client.ask(prompt).answer()
    assert [(x.index, x.attempt) for x in server.exchanges] == [(0, 0), (1, 0), (0, 1), (0, 2)]


def test_the_same_seed_gives_the_same_times_in_any_order(provider_server) -> None:
    """What a request meets depends on its bytes, its attempt and the seed, not on its turn."""
    paces = []
    for prompts in ("abc", "cab"):
        server = provider_server(world=World.production(scale=0.001), seed=5)
        with Raw(server) as client:
            for prompt in prompts:
                client.ask(prompt).answer()
        paces.append({x.request.text: x.pace for x in server.exchanges})
    assert paces[0] == paces[1]


def test_the_world_paces_the_answer(provider_server) -> None:
    """First token and end come when the world says, measured at the client."""
    server = provider_server(world=World(base=0.08, gap=0.01), answer="x" * 40)
    with Raw(server) as client:
        start = time.monotonic()
        client.ask().until(b"\r\n\r\n")
        first = time.monotonic() - start
        client.until(b"\r\n0\r\n\r\n")
        total = time.monotonic() - start
    assert 0.075 < first < 0.16
    assert 0.165 < total < 0.35


def test_flush_headers_sends_them_before_the_wait(provider_server) -> None:
    """With `flush_headers` status line and role come at once, content later."""
    server = provider_server(world=World(base=5.0, flush_headers=True))
    with Raw(server, timeout=1) as client:
        assert b'"role":"assistant"' in client.ask().until(b"\n\n")


def test_a_repeated_prefix_is_cached(provider_server) -> None:
    """A prompt that shares its first 64-token blocks with an earlier one is reported and read as cached."""
    server = provider_server(world=World(prefill=0.0001))
    with Raw(server) as client:
        client.ask("x" * 2000 + "1").answer()
        client.ask("x" * 2000 + "2").answer()
    first, second = server.exchanges
    assert (first.request.cached_tokens, second.request.cached_tokens) == (0, 448)
    assert second.pace.prefill < first.pace.prefill / 5


def test_without_a_prefix_cache_nothing_is_cached(provider_server) -> None:
    """`prefix_cache=False` forgets."""
    server = provider_server(prefix_cache=False)
    with Raw(server) as client:
        client.ask("x" * 2000).answer()
        client.ask("x" * 2000).answer()
    assert server.exchanges[1].request.cached_tokens == 0


def test_answer_functions_see_the_request(provider_server) -> None:
    """A function answers by looking at the request."""
    server = provider_server(answer=lambda request: Answer(f"{request.model}: {request.text}"))
    with Raw(server) as client:
        assert b"m: hello" in client.ask(stream=False).answer()


def test_an_error_in_an_answer_function_is_shown(provider_server) -> None:
    """Whatever the test's function raises comes back as a 500 that says so."""

    def broken(request: ServerRequest) -> str:
        raise KeyError("oops")

    server = provider_server(answer=broken)
    with Raw(server) as client:
        answer = client.ask().answer()
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"KeyError: 'oops'" in answer
    assert server.exchanges[0].error == "KeyError: 'oops'"


def test_max_tokens_is_respected(provider_server) -> None:
    """The made-up answer stops at `max_tokens` and says why."""
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    reply = httpx2.post(f"{provider_server().base_url}/chat/completions", json=body).json()
    assert (reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]) == (5, "length")


def test_per_event_writes_one_chunk_per_event(provider_server) -> None:
    """`per_event=True` sends every event alone; by default an instant answer is one chunk."""
    sizes = []
    for per_event in (True, False):
        with Raw(provider_server(answer="x" * 40, per_event=per_event)) as client:
            sizes.append(client.ask().answer())
    assert unchunked(sizes[0]) == unchunked(sizes[1])
    assert len(sizes[0]) > len(sizes[1])


def test_scripts_by_arrival_by_attempt_and_by_function(provider_server) -> None:
    """The three forms of a script mean what they say; anything beyond is a normal answer."""
    once = (faults.status(503), None)
    forms = (once, {(0, 0): once[0]}, lambda request: once[0] if request.arrival == 0 else None)
    for script in forms:
        server = provider_server(script=script)
        with Raw(server) as client:
            statuses = [client.ask().answer()[9:12] for _ in range(3)]
        assert statuses == [b"503", b"200", b"200"]


def test_what_is_no_plan_is_refused() -> None:
    """A step where a plan should be is an error at once, not a silent normal answer."""
    with pytest.raises(TypeError, match="a plan is a sequence of steps"):
        ProviderServer(script=[Wait(1)])


def test_stop_drops_clients_and_keeps_the_books(provider_server) -> None:
    """Stopping ends even a hanging exchange; counters stay readable; stopping again is harmless."""
    server = provider_server(script=[faults.unanswered()])
    with Raw(server) as client:
        client.ask()
        assert server.wait_for(lambda counters: counters.live == 1)
        server.stop()
        with contextlib.suppress(ConnectionError):
            assert client.rest() == b""
    server.stop()
    assert server.counters.accepted == 1
    assert not any(thread.name == "ProviderServer" and thread.is_alive() for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.origin


def test_a_new_connection_shakes_hands(provider_server) -> None:
    """The first answer on a connection waits for the handshake, the next one does not."""
    server = provider_server(world=World(handshake=0.15))
    with Raw(server) as client:
        waits = []
        for _ in range(2):
            began = time.monotonic()
            client.ask().answer()
            waits.append(time.monotonic() - began)
    assert waits[0] > 0.15 > waits[1]
