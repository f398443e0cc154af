"""Our own HTTP at both ends: how connections are opened, plain and under TLS, and how everything is closed."""

from __future__ import annotations

import gc
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.errors import ConfigError, ConnectFailed, QueueTimeout, StreamCut
from fastclient.testing import ProviderServer, World, blackhole
from fastclient.wire.direct.wire import DirectWire
from tests.wire.asking import CHUNKED, HELLO, Script, asked, eventually, sent
from tests.wire.peers import Listener, secured

# connecting


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets `twice.test` lead to several ports of this machine, in the order given."""
    real = socket.getaddrinfo

    def stand(*origins: str) -> None:
        ports = [int(origin.rpartition(":")[2].partition("/")[0]) for origin in origins]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        def look(host: Any, *args: Any, **options: Any) -> Any:
            return found if host in ("twice.test", b"twice.test") else real(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look)

    return stand


async def test_an_address_that_swallows_packets_is_not_waited_for(wire: DirectWire, names: Any) -> None:
    """A name with a dead address first is reached at the next one after a quarter of a second."""
    with Listener(Script()) as server, blackhole() as dead:
        names(dead, server.url)
        answer = await asked(wire, "http://twice.test/", connect=5)
    assert answer.body == b"Hello"
    assert answer.marks.connected - answer.marks.connect_started < 1


async def test_an_address_that_refuses_is_passed_over(wire: DirectWire, names: Any) -> None:
    """A refusal costs no waiting: the next address is tried at once."""
    with Listener(Script()) as server:
        names("http://127.0.0.1:9", server.url)
        answer = await asked(wire, "http://twice.test/")
    assert answer.marks.connected - answer.marks.connect_started < 0.2


async def test_all_addresses_refuse(wire: DirectWire, names: Any) -> None:
    """Where nobody listens anywhere, the connection has failed, and nothing was sent."""
    names("http://127.0.0.1:9", "http://127.0.0.1:9")
    with pytest.raises(ConnectFailed) as caught:
        await asked(wire, "http://twice.test/")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert not caught.value.sent


async def test_connecting_given_up_leaves_no_socket(wire: DirectWire, names: Any) -> None:
    """Cancelled while several addresses are being tried, or while a handshake hangs, no socket stays open."""
    with Listener(lambda connection: time.sleep(1)) as server, blackhole() as dead:
        names(dead, dead)
        for url in ("http://twice.test/", server.url.replace("http", "https")):
            with anyio.move_on_after(0.3):
                await asked(wire, url)
        gc.collect()  # a forgotten socket complains here


# TLS


async def test_a_name_is_told_and_a_session_kept(
    certificate: tuple[Path, Path], trusted: None, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hears which name is asked for and which protocol; a second connection takes the shorter handshake."""
    context, told = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda sock, name, context: told.append(name)
    chosen = []

    def serve(connection: Any) -> None:
        chosen.append(connection.selected_alpn_protocol())
        Script(HELLO.replace(b"content", b"connection: close\r\ncontent"))(connection)

    wire = DirectWire()
    with Listener(serve, context) as server:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", server.port))])
        for _ in range(3):
            assert (await asked(wire, f"https://right.test:{server.port}/")).body == b"Hello"
        await wire.aclose()
    assert set(told) == {"right.test"}
    assert chosen == ["http/1.1"] * 3
    assert context.session_stats()["hits"] == 2


async def test_megabytes_go_both_ways_under_tls(certificate: tuple[Path, Path], trusted: None) -> None:
    """A prompt and an answer of many records arrive whole."""
    answer = "word " * 20_000
    policy = fc.Policy(retry=None)
    with (
        ProviderServer(answer=lambda request: answer if len(request.text) == 3_000_000 else "") as server,
        secured(server, certificate) as front,
    ):
        async with fc.AsyncClient("openai:m", base_url=front.url, policy=policy, wire="direct", api_key="k") as client:
            assert (await client.chat("x" * 3_000_000)).text == answer


# the line, and the end


async def test_a_wire_with_places() -> None:
    """A wire of one place makes the second request wait, for `queue` seconds at most; closed, it refuses the line."""
    wire = DirectWire(concurrency=1)
    with Listener(Script(CHUNKED)) as server:
        response, _ = await sent(wire, server.url)
        with pytest.raises(QueueTimeout):
            await sent(wire, server.url, queue=0.05)
        outcomes: list[str] = []

        async def wait() -> None:
            try:
                await sent(wire, server.url)
            except ConfigError as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.02)
            await wire.aclose()
            with pytest.raises(StreamCut):
                await response.read()
            await response.aclose()
        assert len(outcomes) == 1
        assert "closed" in outcomes[0]


async def test_a_failed_request_gives_its_place_back() -> None:
    """Refused headers, a broken connection and a cancellation leave the one place free."""
    wire = DirectWire(concurrency=1)
    with Listener(script := Script(None, b"", HELLO)) as server:
        with pytest.raises(ConfigError):
            await sent(wire, server.url, headers={"x": "\n"})
        with pytest.raises(ConnectFailed):
            await sent(wire, server.url)
        with anyio.move_on_after(0.1):
            await sent(wire, server.url)
        assert (await asked(wire, server.url, queue=1)).body == b"Hello"
        await wire.aclose()
    assert len(script.requests) == 3


async def test_closing_ends_a_request_that_waits_for_its_answer(wire: DirectWire) -> None:
    """A wire closed under a waiting request fails it at once, and does not send it again elsewhere."""
    with Listener(script := Script(HELLO, b"")) as server:
        await asked(wire, server.url)
        async with anyio.create_task_group() as tasks:

            async def fail() -> None:
                with pytest.raises(ConnectFailed):
                    await asked(wire, server.url)

            tasks.start_soon(fail)
            assert await eventually(lambda: len(script.requests) == 2)
            await wire.aclose()
    assert len(script.requests) == 2


async def test_closing_while_a_connection_is_being_opened(wire: DirectWire, names: Any) -> None:
    """A connection that comes about after the wire was closed is closed at once, and its request refused."""
    with Listener(script := Script()) as server, blackhole() as dead:
        names(dead, server.url)
        async with anyio.create_task_group() as tasks:

            async def fail() -> None:
                with pytest.raises(ConfigError, match="closed"):
                    await asked(wire, "http://twice.test/")

            tasks.start_soon(fail)
            await anyio.sleep(0.1)
            await wire.aclose()
    assert script.requests == []


async def test_calls_leave_nothing_for_the_collector() -> None:
    """A call makes no circles: what it used is gone when it is over, not when the collector comes by."""
    with ProviderServer(world=World.instant()) as server:
        async with fc.AsyncClient("openai:m", base_url=server.base_url, wire="direct") as client:
            await client.chat("Hi")
            wire: Any = client._core._wire
            gc.collect()
            gc.disable()
            found = []
            try:
                for _ in range(3):  # other threads of the process may leave something of theirs once
                    for _ in range(20):
                        await asked(wire, f"{server.base_url}/chat/completions", b'{"model":"m","messages":[]}')
                    found.append(gc.collect())
            finally:
                gc.enable()
    assert min(found) < 20
