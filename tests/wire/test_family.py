"""The wires behind the port, against real sockets: what they send, where they go, how they fail."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

import fastclient as fc
from fastclient.testing import ProviderServer, Send, Status, Tokens, World, blackhole, faults
from fastclient.wire import sockets
from tests.wire.peers import Listener, forget_trust, head_of, relay, secured

Make = Callable[..., fc.AsyncClient]
PROXIES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture(params=["httpx2", "httpx", "direct"])
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def client(wire: str) -> AsyncIterator[Make]:
    """Makes clients with short timeouts, and closes them."""
    made: list[fc.AsyncClient] = []

    def make(url: str, *, limits: fc.Limits | None = None, **timeouts: float) -> fc.AsyncClient:
        policy = fc.Policy(retry=None, timeouts=fc.Timeouts(**{"total": 10.0, **timeouts}), limits=limits)
        made.append(fc.AsyncClient("openai:m", base_url=url, api_key="k", policy=policy, wire=wire, allow_http=True))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


# what is sent, and where to


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
async def test_redirects_are_not_followed(client: Make, status: int) -> None:
    """A 3xx is an error with a hint; the place it points to, which would get the key, is never contacted."""
    with Listener(lambda connection: None) as target:
        plan = faults.status(status, headers={"location": target.url})
        with ProviderServer(script=lambda _: plan) as server:
            with pytest.raises(fc.ProviderError, match="redirect") as caught:
                await client(server.base_url).chat("Hi")
            assert server.counters.accepted == 1
        await anyio.sleep(0.05)
        assert target.count == 0
    assert caught.value.status_code == status
    assert not caught.value.retryable
    assert target.url not in str(caught.value)


async def test_plain_bytes_are_asked_for(client: Make) -> None:
    """A compressed stream would be held back by proxies; nothing else is added by the library, and no cookie kept."""
    with ProviderServer(headers={"set-cookie": "a=b"}) as server:
        for _ in range(2):
            await client(server.base_url).chat("Hi")
        headers = server.exchanges[1].request.headers
    assert headers["accept-encoding"] == "identity"
    assert headers["cache-control"] == "no-cache"
    assert headers["authorization"] == "Bearer k"
    assert headers["user-agent"].startswith("fastclient/")
    assert not {"cookie", "connection"} & set(headers) - {"connection"}


async def test_a_compressed_answer_is_unpacked(client: Make) -> None:
    """A server may compress although we asked for plain bytes."""
    import gzip

    body = gzip.compress(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n')
    plan = (Status(200, {"content-type": "text/event-stream", "content-encoding": "gzip"}, body),)
    with ProviderServer(script=lambda _: plan) as server:
        assert (await client(server.base_url).chat("Hi")).text == "Hi"


@pytest.mark.parametrize("coding, body", [("br", b"\x0b\x02"), ("gzip", b"not gzip"), ("gzip", b"\x1f\x8b\x08")])
async def test_what_cannot_be_unpacked_is_an_error_and_not_garbage(client: Make, coding: str, body: bytes) -> None:
    """Another coding, or broken data, is a typed error and no empty answer."""
    plan = (Status(200, {"content-type": "text/event-stream", "content-encoding": coding}, body),)
    with ProviderServer(script=lambda _: plan) as server, pytest.raises((fc.StreamCut, fc.ServerFailed)):
        await client(server.base_url).chat("Hi")


@contextmanager
def proxy(seen: list[bytes]) -> Iterator[Listener]:
    """A proxy on loopback: tunnels CONNECT, and forwards absolute URLs to their host."""

    def serve(connection: socket.socket) -> None:
        head = head_of(connection)
        seen.append(head.partition(b"\r\n")[0])
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        host, _, port = place.decode().rpartition(":")
        with socket.create_connection(("127.0.0.1" if host.endswith(".test") else host, int(port))) as server:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                server.sendall(head)
            threading.Thread(target=relay, args=(server, connection), daemon=True).start()
            relay(connection, server)

    with Listener(serve) as listener:
        yield listener


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used(client: Make, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the proxy that HTTP_PROXY and its kin name, and the answer comes back through it."""
    seen: list[bytes] = []
    with proxy(seen) as listener, ProviderServer(answer="Hello") as server:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{listener.port}")
        url = server.base_url.replace("127.0.0.1", "provider.test")
        assert (await client(url).chat("Hi")).text == "Hello"
    assert len(seen) == 1
    assert b"provider.test" in seen[0]


@pytest.mark.parametrize("exception", [".test", "*", "x,provider.test:{port}"])
async def test_no_proxy_is_respected(client: Make, exception: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts NO_PROXY names are contacted directly: here that fails, because their name leads nowhere."""
    seen: list[bytes] = []
    with proxy(seen) as listener, ProviderServer() as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.port}")
        monkeypatch.setenv("no_proxy", exception.format(port=server.origin.rpartition(":")[2]))
        with pytest.raises(fc.FastClientError):
            await client(server.base_url.replace("127.0.0.1", "provider.test"), connect=2).chat("Hi")
    assert seen == []


async def test_a_proxy_that_is_down(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that refuses is a failed connection, not a detour around it."""
    with ProviderServer() as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with pytest.raises(fc.ConnectFailed):
            await client(server.base_url.replace("127.0.0.1", "provider.test")).chat("Hi")
        assert server.counters.connections == 0


async def test_loopback_needs_no_proxy(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server is reached whatever the environment says when NO_PROXY names it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with ProviderServer(answer="Hello") as server:
        assert (await client(server.base_url).chat("Hi")).text == "Hello"


# TLS


async def test_an_unknown_certificate_is_refused(client: Make, certificate: tuple[Path, Path]) -> None:
    """TLS is verified: a self-signed server is a failed connection, and gets no request."""
    with ProviderServer() as server, secured(server, certificate) as front:
        with pytest.raises(fc.ConnectFailed) as caught:
            await client(front.url).chat("Hi")
        assert server.counters.accepted == 0
    assert caught.value.timings is not None
    assert caught.value.timings.send is None


async def test_a_trusted_certificate_works(client: Make, certificate: tuple[Path, Path], trusted: None) -> None:
    """With SSL_CERT_FILE the server is trusted, and the handshake has its own time."""
    with ProviderServer(answer="Hello") as server, secured(server, certificate) as front:
        made = client(front.url)
        first, second = await made.chat("Hi"), await made.chat("Hi")
        await made.aclose()
    assert (first.text, first.timings.reused, second.timings.reused) == ("Hello", False, True)
    assert first.timings.tls is not None
    assert first.timings.tls > 0
    assert first.timings.basis["tls"] == "measured"
    assert second.timings.tls is None
    assert sum(first.timings.parts().values()) == pytest.approx(first.timings.total, abs=1e-6)


async def test_a_certificate_for_another_name_is_refused(
    client: Make, certificate: tuple[Path, Path], trusted: None
) -> None:
    """A trusted certificate counts only for the names it holds."""
    with ProviderServer() as server, secured(server, certificate) as front:
        with pytest.raises(fc.ConnectFailed):
            await client(front.url.replace("127.0.0.1", "localhost")).chat("Hi")
        assert server.counters.accepted == 0


@pytest.mark.parametrize("variable", ["PYTHONHTTPSVERIFY", "SSL_NO_VERIFY", "CURL_INSECURE"])
async def test_no_variable_turns_verification_off(
    client: Make, certificate: tuple[Path, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment can add trust; it cannot remove the check."""
    monkeypatch.setenv(variable, "0" if variable.startswith("PYTHON") else "1")
    forget_trust()
    with ProviderServer() as server, secured(server, certificate) as front, pytest.raises(fc.ConnectFailed):
        await client(front.url).chat("Hi")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_tls_is_refused(client: Make, certificate: tuple[Path, Path], trusted: None) -> None:
    """Nothing below TLS 1.2 is spoken."""
    context = sockets.ssl_context("httpx2")
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    old = ssl.TLSVersion.TLSv1_1
    with (
        ProviderServer() as server,
        secured(server, certificate, maximum_version=old) as front,
        pytest.raises(fc.ConnectFailed),
    ):
        await client(front.url).chat("Hi")


async def test_a_handshake_that_hangs_is_a_connect_timeout(client: Make, trusted: None) -> None:
    """A server that accepts and never says hello costs `connect` seconds, once more for TLS at most."""
    with Listener(lambda connection: time.sleep(3)) as front:
        start = time.monotonic()
        with pytest.raises(fc.ConnectTimeout) as caught:
            await client(front.url.replace("http", "https"), connect=0.2).chat("Hi")
    assert time.monotonic() - start < 1.0
    assert caught.value.phase == "connect"


# measuring


@pytest.mark.skipif(sys.platform != "linux", reason="tcp_info is Linux's")
async def test_the_round_trip_is_the_kernels(client: Make) -> None:
    """On Linux the kernel's own estimate of the round trip is measured, on the first call already."""
    with ProviderServer() as server:
        reply = await client(server.base_url).chat("Hi")
    assert reply.timings.rtt is not None
    assert 0 < reply.timings.rtt < 0.1
    assert (reply.timings.basis["rtt"], reply.timings.basis["network"]) == ("measured", "measured")
    assert reply.timings.network <= reply.timings.rtt


async def test_connecting_is_measured_once(client: Make) -> None:
    """The first call pays for the connection and says so; the second finds it open."""
    with ProviderServer() as server:
        made = client(server.base_url)
        first, second = await made.chat("Hi"), await made.chat("Hi")
        assert server.counters.connections == 1
        await made.aclose()
    assert (first.timings.reused, second.timings.reused) == (False, True)
    assert first.timings.connect > 0
    assert (second.timings.connect, second.timings.tls) == (None, None)


# the line before the connections


async def test_concurrency_is_bounded(client: Make) -> None:
    """With `Limits(concurrency=2)` six calls never hold more than two connections, and the waiting is `queue` time."""
    with ProviderServer(world=World(base=0.1)) as server:
        made, most, replies = client(server.base_url, limits=fc.Limits(concurrency=2)), 0, []

        async def watch() -> None:
            nonlocal most
            while len(replies) < 6:
                most = max(most, server.counters.live)
                await anyio.sleep(0.005)

        async def call(number: int) -> None:
            replies.append(await made.chat(f"call {number}"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            for number in range(6):
                tasks.start_soon(call, number)
        assert server.counters.connections == 2
        await made.aclose()
    queues = sorted(reply.timings.queue for reply in replies)
    assert most == 2
    assert queues[1] < 0.09 < queues[2] < queues[3] < 0.19 < queues[4]
    for reply in replies:
        assert sum(reply.timings.parts().values()) == pytest.approx(reply.timings.total, abs=1e-6)


async def test_the_queue_has_its_own_timeout(client: Make) -> None:
    """A call that gets no place within `queue` seconds fails as QueueTimeout, and those before it are unharmed."""
    with ProviderServer(world=World(base=0.5)) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=1), queue=0.1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.chat, "first")
            await run_sync(server.wait_for, lambda counters: counters.live == 1)
            start = time.monotonic()
            with pytest.raises(fc.QueueTimeout) as caught:
                await made.chat("second")
            waited = time.monotonic() - start
        assert (await made.chat("third")).text
        assert server.counters.accepted == 2
    assert 0.09 < waited < 0.3
    assert caught.value.phase == "queue"
    assert caught.value.timings.queue == pytest.approx(waited, abs=0.05)


async def test_a_failed_call_gives_its_place_back(client: Make) -> None:
    """Refusals, cuts and timeouts free their place, each time."""
    plans = [faults.status(500), faults.closed(1), faults.reset(0), faults.truncated(1), faults.stall(0)]
    with ProviderServer(script=[*plans, None]) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=1), queue=0.5, first_token=0.2)
        for number in range(len(plans)):
            with pytest.raises(fc.FastClientError) as caught:
                await made.chat(f"call {number}")
            assert not isinstance(caught.value, fc.QueueTimeout)
        assert (await made.chat("last")).text


async def test_a_call_given_up_before_its_headers_frees_its_place(client: Make) -> None:
    """A server that never answers holds a place no longer than the call may last in all, whatever the library."""
    with ProviderServer(script=[faults.unanswered()]) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=1), first_token=0.2, total=0.6)
        with pytest.raises(fc.FirstTokenTimeout):
            await made.chat("first")
        assert await run_sync(server.wait_for, lambda counters: counters.live == 0, 1.0), "still waiting for an answer"
        assert (await made.chat("second")).text


async def test_a_waiting_call_can_be_cancelled(client: Make) -> None:
    """Leaving the line costs nobody their place."""
    with ProviderServer(world=World(base=0.2)) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.chat, "first")
            await run_sync(server.wait_for, lambda counters: counters.live == 1)
            with anyio.move_on_after(0.05):
                await made.chat("second")
        assert (await made.chat("third")).timings.queue < 0.1
        assert server.counters.accepted == 2


# failing


async def test_a_refused_connection(client: Make) -> None:
    """Nobody listens: ConnectFailed, which is Python's ConnectionError too and may be retried; at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        await client(f"http://127.0.0.1:{port}/v1").chat("Hi")
    assert time.monotonic() - start < 1
    assert isinstance(caught.value, fc.ConnectFailed)
    assert caught.value.retryable
    assert "connecting" in str(caught.value)


async def test_an_unknown_host(client: Make) -> None:
    """A name that leads nowhere is a failed connection."""
    with pytest.raises(fc.ConnectFailed):
        await client("http://no-such-host.invalid/v1").chat("Hi")


async def test_a_black_hole_is_a_connect_timeout(client: Make) -> None:
    """An address that swallows connection attempts costs `connect` seconds and not more."""
    with blackhole() as origin:
        start = time.monotonic()
        with pytest.raises(fc.ConnectTimeout) as caught:
            await client(f"{origin}/v1", connect=0.3).chat("Hi")
        waited = time.monotonic() - start
    assert 0.25 < waited < 0.6
    assert caught.value.phase == "connect"
    assert caught.value.timings.connect == pytest.approx(waited, abs=0.1)


RAW: dict[str, bytes] = {
    "closed": b"",
    "half a status": b"HTTP/1.1 2",
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad header": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "half the headers": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-le",
    "endless header": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2_000_000,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % at for at in range(60_000)),
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
}


@pytest.mark.parametrize("answer", RAW)
async def test_what_is_not_an_answer(client: Make, answer: str) -> None:
    """Before the headers are complete every breakage is ConnectFailed: nothing of an answer was seen."""

    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(RAW[answer])

    with Listener(serve) as server, pytest.raises(fc.ConnectFailed) as caught:
        await client(server.url, first_token=2).chat("Hi")
    assert [attempt.outcome for attempt in caught.value.attempts] == ["failed"]


async def test_a_reset_before_the_headers(client: Make) -> None:
    """A torn connection before the answer is ConnectFailed, after the first byte of the request."""
    with (
        ProviderServer(script=lambda _: faults.reset(0)) as server,
        pytest.raises(fc.ConnectFailed, match="before the answer"),
    ):
        await client(server.base_url).chat("Hi")


BODIES: dict[str, bytes] = {
    "short length": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 999\r\n\r\ndata: {}\n\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "cut chunk": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nff\r\ndata",
    "no end": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
}


@pytest.mark.parametrize("answer", BODIES)
async def test_a_broken_body(client: Make, answer: str) -> None:
    """After the headers every breakage is StreamCut: part of an answer, and never a success."""

    def serve(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(BODIES[answer])

    with Listener(serve) as server, pytest.raises(fc.StreamCut) as caught:
        await client(server.url).chat("Hi")
    assert caught.value.partial_text == ("Hi" if answer == "no end" else "")


async def test_an_endless_event_is_cut(client: Make) -> None:
    """One event beyond the cap ends the call with what had come; it is not collected for ever."""
    plan = (Tokens("Hi"), *[Send(b"data: " + b"x" * 2**20)] * 20)
    with ProviderServer(script=lambda _: plan) as server:
        with pytest.raises(fc.StreamCut) as caught:
            await client(server.base_url).chat("Hello")
        assert await run_sync(server.wait_idle)
    assert caught.value.partial_text == "Hi"


async def test_an_endless_answer_is_cut(client: Make) -> None:
    """An answer of more than 64 MiB ends in StreamCut, and the server is told to stop."""
    event = Send(b'data: {"choices":[],"x":"' + b"x" * 2**20 + b'"}\n\n')
    with ProviderServer(script=lambda _: (Tokens("Hi"), *[event] * 70)) as server:
        with pytest.raises(fc.StreamCut, match="64 MiB") as caught:
            await client(server.base_url).chat("Hello")
        assert await run_sync(server.wait_idle, 1.0)
    assert caught.value.partial_text == "Hi"


async def test_an_endless_error_is_cut(client: Make) -> None:
    """Of an error body at most 64 KiB are kept, and what follows is not waited for."""
    plan = (Status(500), *[Send(b"x" * 2**16)] * 64)
    with ProviderServer(script=lambda _: plan) as server:
        with pytest.raises(fc.ServerFailed) as caught:
            await client(server.base_url).chat("Hello")
        assert await run_sync(server.wait_idle, 1.0)
    assert len(caught.value.body) <= 2**16


async def test_a_large_prompt_goes_through(client: Make) -> None:
    """A prompt of megabytes is sent whole, and sending is measured."""
    with ProviderServer(answer=lambda request: str(len(request.text))) as server:
        reply = await client(server.base_url).chat("x" * 5_000_000)
    assert reply.text == "5000000"
    assert reply.timings.send > 0


async def test_a_server_that_does_not_read(client: Make) -> None:
    """Writing a large request to a deaf server ends by the liveness limit or the first-token limit, typed."""
    with Listener(lambda connection: time.sleep(3)) as server:
        start = time.monotonic()
        with pytest.raises(fc.FastClientError) as caught:
            await client(server.url, liveness=0.3, first_token=0.6).chat("x" * 20_000_000)
    assert time.monotonic() - start < 1.5
    assert isinstance(caught.value, (fc.ConnectFailed, fc.DeadlineExceeded))


async def test_a_connection_that_died_in_the_pool_is_not_reused(client: Make) -> None:
    """The server closes an idle connection: the next call opens another, and does not fail on the dead one."""
    with ProviderServer(headers={"connection": "close"}) as server:
        made = client(server.base_url)
        for _ in range(3):
            reply = await made.chat("Hi")
            await anyio.sleep(0.02)
            assert reply.timings.reused is False
        assert server.counters.connections == 3


async def test_the_deadline_covers_everything(client: Make) -> None:
    """`timeout` of a call ends waiting in the queue, connecting, and reading, whichever it is in."""
    with ProviderServer(world=World(base=2)) as server:
        start = time.monotonic()
        with pytest.raises(fc.DeadlineExceeded) as caught:
            await client(server.base_url).chat("Hi", timeout=0.2)
        waited = time.monotonic() - start
    assert 0.19 < waited < 0.8
    assert isinstance(caught.value, TimeoutError)


async def test_two_families_do_not_share_a_pool() -> None:
    """Clients of both libraries may live side by side in one loop."""
    with ProviderServer() as server:
        async with (
            fc.AsyncClient("openai:m", base_url=server.base_url, wire="httpx") as one,
            fc.AsyncClient("openai:m", base_url=server.base_url, wire="httpx2") as other,
        ):
            replies: list[Any] = [await one.chat("Hi"), await other.chat("Hi")]
        assert server.counters.connections == 2
    assert replies[0].text == replies[1].text


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_the_first_call_imports_no_http_library(wire: str) -> None:
    """Importing takes long and would hold up every task of the loop: it happens when a client is made."""
    code = f"""
import sys, fastclient as fc
from fastclient.testing import ProviderServer
with ProviderServer() as server, fc.Client("openai:m", base_url=server.base_url, wire={wire!r}) as client:
    before = set(sys.modules)
    client.chat("Hi")
    late = [name for name in set(sys.modules) - before if name.startswith(("http", "h11"))]
print(late)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist for Windows")
@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_it_works_on_uvloop(wire: str) -> None:
    """Servers run uvloop: calls, reuse, early leaving and closing work there too."""
    import uvloop

    async def use(server: ProviderServer) -> None:
        async with fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire) as made:
            assert (await made.chat("Hi")).text
            assert (await made.chat("Hi")).timings.reused
            async for _ in made.stream("Hi"):
                break
            assert await run_sync(server.wait_for, lambda counters: counters.live == 0, 0.25)

    with ProviderServer(world=World(gap=0.01)) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use(server))


@pytest.mark.parametrize("wire", ["httpx2", "direct"])
def test_loops_that_are_simply_closed_leave_nothing(wire: str) -> None:
    """A loop closed without its good-byes takes its connections with it; a client on many of them does not grow."""
    with ProviderServer() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, for the loop that was closed like that
        made = fc.AsyncClient("openai:m", base_url=server.base_url, wire=wire)
        counts = []
        for _ in range(12):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(made.chat("Hi"))
            loop.close()
            gc.collect()
            counts.append(len(made._core._wire._pools))
        assert max(counts) <= 2
        del made
        gc.collect()


async def test_closing_ends_the_calls_in_line(client: Make) -> None:
    """A call that waits for a place when the client is closed is refused; it does not open a connection afterwards."""
    with ProviderServer(world=World(base=0.3)) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=1))
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                await made.chat("Hi")
            except fc.FastClientError as error:
                outcomes.append(type(error).__name__)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await run_sync(server.wait_for, lambda counters: counters.live == 1)
            tasks.start_soon(ask)
            await anyio.sleep(0.05)
            await made.aclose()
        assert "ConfigError" in outcomes
        assert await run_sync(server.wait_for, lambda counters: counters.open_connections == 0)


async def test_a_calls_own_limit_frees_its_place(client: Make) -> None:
    """`timeout=` of a call bounds how long a silent server holds a place, whatever the library."""
    with ProviderServer(script=[faults.unanswered(), faults.unanswered()]) as server:
        made = client(server.base_url, limits=fc.Limits(concurrency=2))
        for _ in range(2):
            with pytest.raises(fc.DeadlineExceeded):
                await made.chat("Hi", timeout=0.2)
        assert await run_sync(server.wait_for, lambda counters: counters.live == 0, 1.0)
        assert (await made.chat("Hi")).text
