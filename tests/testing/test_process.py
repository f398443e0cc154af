"""A server in a process of its own behaves like one in a thread, and does not outlive its parent."""

import subprocess
import sys
import time

import pytest

from fastclient.testing import Answer, ProviderServer, ToolCall, World, faults
from fastclient.testing.codec import packed, unpacked
from tests.testing.raw import Raw, unchunked


@pytest.mark.parametrize("stream", [True, False])
def test_it_answers_and_counts_the_same(provider_server, stream: bool) -> None:
    """Thread and process send the same bytes and keep the same books."""
    options = {"world": World(gap=0.001), "answer": Answer("Hi", tool_calls=(ToolCall("f", {"a": 1}),)), "seed": 3}
    answers, counters = [], []
    for process in (False, True):
        server = provider_server(process=process, **options)
        with Raw(server) as client:
            answer = client.ask(stream=stream).answer()
            answers.append(unchunked(answer) if stream else answer)
        server.stop()
        counters.append(server.counters)
        assert server.exchanges[0].request.text == "hello"
    assert answers[0] == answers[1]
    assert (counters[0].accepted, counters[0].output_tokens) == (counters[1].accepted, counters[1].output_tokens)


def test_scripts_cross_over(provider_server) -> None:
    """Plans by arrival and by attempt work there too, and a client that leaves is noticed."""
    script = {(0, 0): faults.status(429, retry_after="5"), (0, 1): faults.stall(2)}
    server = provider_server(process=True, script=script)
    with Raw(server) as client:
        assert b"retry-after: 5" in client.ask().answer()
        client.ask().until(b"\n\n")
        assert server.wait_for(lambda counters: counters.live == 1)
    assert server.wait_idle()
    assert (server.counters.cut_early, server.exchanges[1].tokens_sent) == (1, 2)


def test_functions_need_a_thread() -> None:
    """A function cannot cross to another process, and the error says so."""
    with pytest.raises(ValueError, match="process=True"):
        ProviderServer(process=True, answer=lambda request: "x")


def test_it_dies_with_its_parent() -> None:
    """A parent that is killed takes the server with it."""
    code = (
        "from fastclient.testing import ProviderServer as P\nprint(P(process=True).start().origin, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        port = int(parent.stdout.readline().rpartition(b":")[2])
        parent.kill()
    for _ in range(100):
        try:
            Raw(type("Gone", (), {"origin": f"http://127.0.0.1:{port}"})()).socket.close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it is dying just now
        time.sleep(0.02)
    pytest.fail("the server outlived its parent")


def test_values_survive_the_pipe() -> None:
    """What is packed comes back equal, whatever steps it holds."""
    plans = [faults.split(1, b"\xff\n\n"), faults.status(500, body=b"\x00"), faults.overloaded_event(), faults.slow(1)]
    script = {(0, at): plan for at, plan in enumerate(plans)}
    assert unpacked(packed(script)) == script
    assert unpacked(packed(World.production())) == World.production()
