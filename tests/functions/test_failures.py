"""What happens to a function's exceptions: which of them are tried again, and that all reach the caller as they are."""

from __future__ import annotations

import traceback
from typing import Any

import anyio
import pytest

import fastclient as fc
from fastclient.decorators import stats_of
from tests.functions.kinds import KINDS, Body, called, made


def foreign(module: str, name: str, *bases: type, **values: Any) -> Exception:
    """An exception of a class of this name, as another library would raise it."""
    error: Exception = type(name, bases or (Exception,), {"__module__": module})("no")
    for attribute, value in values.items():
        setattr(error, attribute, value)
    return error


class Response:
    def __init__(self, status_code: int, **headers: str) -> None:
        self.status_code = status_code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


TIMEOUT = type("TimeoutException", (Exception,), {"__module__": "httpx"})

TRANSIENT = [
    *(
        ConnectionError(),
        ConnectionResetError(),
        TimeoutError(),
        fc.ConnectFailed(),
        fc.Overloaded(),
        fc.ServerFailed(),
    ),
    *(fc.FirstTokenTimeout(), fc.ConnectTimeout(), fc.RateLimited(retry_after=0.01)),
    *(foreign("app", "Refused", status_code=status) for status in (408, 409, 425, 500, 502, 503, 504, 529)),
    foreign("app", "Refused", response=Response(429, retry_after="0.01")),
    foreign("httpx", "ReadTimeout", TIMEOUT),
    *(foreign("httpx", "NetworkError"), foreign("httpx2", "RemoteProtocolError")),
    *(foreign("requests.exceptions", "ConnectionError"), foreign("requests.exceptions", "Timeout")),
    *(foreign("aiohttp.client_exceptions", "ClientConnectionError"), foreign("urllib3.exceptions", "ProtocolError")),
    foreign("urllib3.exceptions", "MaxRetryError", reason=foreign("urllib3.exceptions", "NewConnectionError")),
    *(foreign("openai", "APIConnectionError"), foreign("anthropic", "APITimeoutError")),
]

FINAL = [
    *(
        ValueError(),
        KeyError("k"),
        OSError("disk"),
        StopIteration(),
        fc.BadRequest(),
        fc.QueueTimeout(),
        fc.StreamCut(),
    ),
    *(foreign("app", "Refused", status_code=status) for status in (400, 401, 403, 404, 422)),
    *(foreign("app", "ConnectionError"), foreign("requests.exceptions", "InvalidURL")),
    foreign("urllib3.exceptions", "MaxRetryError", reason=ValueError()),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    """Connections, timeouts, and refusals that say so: of Python, of fastclient, and of other libraries by name."""
    body = Body()
    body.failures = [error]
    assert fc.retried(made("plain", body))() == "<q>"
    assert body.runs == 2


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    """A wrong argument stays wrong; the very exception reaches the caller."""
    body = Body()
    body.failures = [error]
    with pytest.raises(type(error)) as caught:
        fc.retried(made("plain", body))()
    assert caught.value is error
    assert body.runs == 1


@pytest.mark.parametrize("decorate", [fc.retried, fc.hedged, fc.shared, fc.cached, fc.timed, fc.accelerate])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_exception_arrives_as_it_was_raised(kind: str, decorate: Any) -> None:
    """It is the same object; its traceback leads to the function, and nothing was being handled meanwhile."""
    body = Body()
    body.failures = [error := LookupError("mine")]
    with pytest.raises(LookupError) as caught:
        await called(kind, decorate(made(kind, body)))
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert traceback.extract_tb(error.__traceback__)[-1].name == "end"


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_a_failure_after_the_first_item_is_final(kind: str) -> None:
    """What was handed out cannot be taken back: a generator that breaks off later is not begun again."""
    seen: list[int] = []
    runs: list[int] = []

    def generator() -> Any:
        runs.append(1)
        yield 1
        raise ConnectionError("late")

    async def async_generator() -> Any:
        runs.append(1)
        yield 1
        raise ConnectionError("late")

    async def read() -> None:
        if kind == "generator":
            for item in fc.retried(generator)():
                seen.append(item)
            return
        async for item in fc.retried(async_generator)():
            seen.append(item)

    with pytest.raises(ConnectionError, match="late"):
        await read()
    assert (seen, runs) == ([1], [1])


def test_the_last_failure_is_the_one_that_is_raised() -> None:
    """When no attempt is left, the caller gets what the last one raised."""
    body = Body()
    body.failures = [ConnectionError("first"), last := TimeoutError("last")]
    with pytest.raises(TimeoutError) as caught:
        fc.retried(attempts=2)(made("plain", body))()
    assert caught.value is last


@pytest.mark.parametrize(
    "on, runs", [(LookupError, 2), ((OSError, LookupError), 2), (lambda e: "mine" in str(e), 2), (OSError, 1)]
)
def test_on_says_what_is_tried_again(on: Any, runs: int) -> None:
    """Classes or a function replace the usual rule."""
    body = Body()
    body.failures = [LookupError("mine")]
    function = fc.retried(on=on)(made("plain", body))
    if runs == 2:
        assert function() == "<q>"
    else:
        with pytest.raises(LookupError):
            function()
    assert body.runs == runs


@pytest.mark.parametrize("on", [5, "ValueError", int, (ValueError, 5), ()])
def test_what_is_no_rule_is_refused(on: Any) -> None:
    """At once, when the function is decorated."""
    with pytest.raises(fc.ConfigError, match=r"^on: "):
        fc.retried(on=on)(lambda: None)


def test_a_rule_that_fails_shows_its_own_error() -> None:
    """A broken rule is not taken for a no."""
    body = Body()
    body.failures = [LookupError("mine")]
    with pytest.raises(ZeroDivisionError):
        fc.retried(on=lambda error: 1 / 0 > 1)(made("plain", body))()


def test_fallback_goes_by_the_same_rule() -> None:
    """What another function would not do better either is not given to it."""
    body = Body()
    body.failures = [ValueError("wrong"), ConnectionError("gone")]
    function = fc.fallback(lambda q: f"instead of {q}")(made("plain", body))
    with pytest.raises(ValueError, match="wrong"):
        function("a")
    assert function("a") == "instead of a"
    body.failures = [ValueError("wrong")]
    assert fc.fallback(lambda q: "any", on=ValueError)(made("plain", body))("a") == "any"


def test_a_wish_to_wait_is_heard() -> None:
    """`Retry-After` of the response that an exception carries says when to try again."""
    body = Body()
    body.failures = [foreign("app", "Refused", response=Response(429, Retry_After="1.2"))]
    function = fc.retried(made("plain", body))
    function()
    assert stats_of(function).total_p50 >= 1.18  # of its own it waits a second at most


async def test_the_time_of_a_policy_bounds_the_call() -> None:
    """`timeouts.total` ends a coroutine function that takes longer; our own errors come as themselves."""

    @fc.accelerate(fc.Policy(timeouts=fc.Timeouts(total=0.05)))
    async def slow() -> None:
        await anyio.sleep_forever()

    with pytest.raises(fc.DeadlineExceeded) as caught:
        await slow()
    assert caught.value.call_id is not None


def test_the_queue_of_a_policy_bounds_the_wait() -> None:
    """Who gets no permit in time hears QueueTimeout."""
    policy = fc.Policy(limits=fc.Limits(concurrency=1), timeouts=fc.Timeouts(queue=0.05))

    @fc.accelerate(policy)
    def numbers() -> Any:
        yield 1

    with pytest.raises(fc.QueueTimeout):
        list(zip(numbers(), numbers(), strict=True))


def test_nothing_of_a_call_is_shown() -> None:
    """Neither events nor what is in the log says more of a failure than its class."""
    events: list[Any] = []
    body = Body()
    body.failures = [LookupError("secret answer")]
    function = fc.timed(observers=[events.append])(made("plain", body))
    with pytest.raises(LookupError):
        function("secret question")
    assert events[0].error == "LookupError"
    assert "secret" not in repr(events)
