"""A pretend LLM provider on 127.0.0.1: real sockets, real HTTP/1.1, every dialect, scripted faults, seeded latency.

It runs in a thread of its own, or in a child process (`process=True`) where it shares no interpreter with the client
under test. It needs no network and no key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from fastclient.testing.control import Child, main
from fastclient.testing.provider import AnswerSource, Script, Setup
from fastclient.testing.record import Counters, Exchange
from fastclient.testing.script import checked
from fastclient.testing.threaded import ThreadBackend
from fastclient.testing.worlds import World

__all__ = ["ProviderServer"]


class ProviderServer:
    """A loopback server that answers like OpenAI, Anthropic and Google do.

    `world` says how long things take, `answer` what is said (a text, an `Answer`, or a function of the request;
    default: made-up text that depends on the prompt and respects `max_tokens`), `script` what goes wrong: plans by
    order of arrival, plans by `(request index, attempt index)`, or a function from the request to a plan, an answer or
    `None`. Times are drawn from `seed`, the request's bytes and the attempt, so two runs meet the same times in any
    order. `prefix_cache` imitates a provider's prompt cache. With an `api_key`, other keys get a 401. `headers` are
    added to every response. `per_event` writes every event alone. `keep` bounds how many exchanges are remembered.
    Functions need thread mode.

    >>> with ProviderServer(answer="Hello") as server:
    ...     server.base_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        *,
        world: World | None = None,
        script: Script | None = None,
        answer: AnswerSource | None = None,
        seed: int = 0,
        prefix_cache: bool = True,
        process: bool = False,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        per_event: bool = False,
        keep: int = 10_000,
    ) -> None:
        if process and (callable(script) or callable(answer)):
            raise ValueError("ProviderServer: script and answer cannot be functions with process=True")
        if isinstance(script, Sequence):
            for plan in script:
                checked(plan)
        setup = Setup(
            world=world or World.instant(),
            script=script,
            answer=answer,
            seed=seed,
            prefix_cache=prefix_cache,
            api_key=api_key,
            headers=headers or {},
            keep=keep,
        )
        self._backend: Child | ThreadBackend = Child(setup, per_event) if process else ThreadBackend(setup, per_event)
        self._port = 0

    def start(self) -> ProviderServer:
        """Listen on a free port of 127.0.0.1; returns once it accepts connections."""
        if not self._port:
            self._port = self._backend.start()
        return self

    def stop(self) -> None:
        """Drop every connection and stop. Counters and exchanges can still be read. A second call does nothing."""
        if self._port:
            self._port = 0
            self._backend.stop()

    def __enter__(self) -> ProviderServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port, such as `http://127.0.0.1:40123`."""
        if not self._port:
            raise RuntimeError("ProviderServer is not running: use it as a context manager, or call start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The `base_url` for clients of OpenAI's kind (ends in `/v1`)."""
        return f"{self.origin}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for clients of Anthropic's kind."""
        return self.origin

    @property
    def gemini_url(self) -> str:
        """The base URL for Google's SDK, which appends the version itself."""
        return self.origin

    @property
    def counters(self) -> Counters:
        """Totals of this moment."""
        return self._backend.counters()

    @property
    def exchanges(self) -> list[Exchange]:
        """One record per model call, oldest first."""
        return self._backend.exchanges()

    def wait_idle(self, timeout: float = 0.25) -> bool:
        """Wait up to `timeout` seconds until nothing is being answered; whether that came about.

        Blocks the calling thread: in an async test run it in a worker thread.
        """
        return self.wait_for(lambda counters: counters.live == 0, timeout)

    def wait_for(self, check: Callable[[Counters], bool], timeout: float = 1.0) -> bool:
        """Wait up to `timeout` seconds until the counters pass a check; whether they did. Blocks, like `wait_idle`.

        >>> with ProviderServer() as server:
        ...     server.wait_for(lambda counters: counters.accepted > 0, timeout=0.01)
        False
        """
        end = time.monotonic() + timeout
        while not check(self.counters):
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True


if __name__ == "__main__":
    main()
