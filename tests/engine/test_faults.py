"""Every way a provider fails one call: what the user sees and what the server sees, in all worlds.

Limits are fractions of a second here; the rules of time are checked to the second in `test_fault_times.py`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import orjson
import pytest

from fastclient import errors
from fastclient.errors import (
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    FastClientError,
    FirstTokenTimeout,
    ProviderError,
    ServerFailed,
    StreamCut,
    StreamStalled,
)
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
    Reset,
    Role,
    Send,
    Split,
    Status,
    Tokens,
    Wait,
    blackhole,
    faults,
)
from tests.engine.doors import Door, seen

PROVIDERS = ["openai", "anthropic"]
both = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
def anyio_backend(world: str) -> str:
    return "trio" if world.startswith("trio") else "asyncio"


@contextmanager
def lasts(at_least: float, at_most: float) -> Iterator[None]:
    """What happens inside takes about this long; the upper bound leaves room for a busy machine."""
    start = time.monotonic()
    yield
    assert at_least - 0.02 <= time.monotonic() - start <= at_most


async def failed(kind: type[FastClientError], door: Door, **options: Any) -> Any:
    """Make a call that must fail, with exactly this class and with its story told."""
    pieces: list[str] = []
    with pytest.raises(kind) as caught:
        await door.read(pieces, **options)
    error: Any = caught.value
    assert type(error) is kind
    assert "".join(pieces) == getattr(error, "partial_text", ""), "the user has what came before the error"
    assert error.call_id
    assert 0 < error.timings.total < 10
    (attempt,) = error.attempts
    assert (attempt.outcome, attempt.error) == ("failed", error)
    assert attempt.wasted_tokens == getattr(error, "tokens", 0)
    return error


async def unharmed(door: Door, server, *, within: float = 0.25) -> None:
    """The server is done with the call in time, was asked once, and the client's next call is answered."""
    assert await seen(server, lambda counters: counters.live == 0, within)
    assert server.counters.accepted == 1
    assert (await door.chat("Again.")).text
    assert server.counters.accepted == 2
    assert door.client.stats().in_flight == 0


def event(data: object, name: str = "message") -> Event:
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data)))


def delta(**delta: object) -> Event:
    """One chat.completion.chunk of the OpenAI format."""
    return event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def block(kind: str) -> Event:
    """The start of a content block of the Anthropic format."""
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": kind, kind: ""}}
    return event(start, "content_block_start")


# --- before the first token -------------------------------------------------------------------------------------------

PRELUDES = {
    "nothing": ("openai", (), "headers"),
    "role": ("openai", (Role(), delta(), delta(content="")), "first_token"),
    "comments": ("openai", (Comment(), Comment("OPENROUTER PROCESSING"), Send(b"\n\r\n")), "first_token"),
    "block-start": ("anthropic", (Role(), Ping(), block("text")), "first_token"),
}
preludes = pytest.mark.parametrize("provider, plan, phase", PRELUDES.values(), ids=PRELUDES)


@preludes
async def test_what_is_not_content_is_no_first_token(door, provider_server, provider, plan, phase) -> None:
    """Headers, roles, pings, comments, empty deltas: the first-token limit goes on running, and the error names it."""
    server = provider_server(script=[(*plan, Wait(0.6))])
    client = door(server, provider, first_token=0.2)
    with lasts(0.2, 0.6):
        error = await failed(FirstTokenTimeout, client)
    assert (error.phase, error.partial_text, error.tokens) == (phase, "", 0)
    assert error.retryable
    assert "0.2 s" in str(error)
    await unharmed(client, server, within=0.25 if phase != "headers" else 1.0)  # httpx: once its headers are in


@preludes
async def test_the_stream_opens_with_the_first_content(door, provider_server, provider, plan, phase) -> None:
    """`ttft` and the first piece come with the first content, not with what comes before it."""
    server = provider_server(script=[(*plan, Wait(0.2), Tokens("Late."))])
    client, pieces = door(server, provider), []
    with lasts(0.2, 1.2):
        reply = await client.read(pieces)
    assert "".join(pieces) == reply.text == "Late."
    assert 0.18 < reply.timings.ttft <= reply.timings.total
    assert [attempt.outcome for attempt in reply.attempts] == ["won"]


@pytest.mark.parametrize("provider, plan", [("anthropic", faults.pings), ("openai", faults.comments)])
async def test_pings_keep_a_call_alive_and_are_no_progress(door, provider_server, provider, plan) -> None:
    """A ping satisfies the byte watch and nothing else: the call dies at the first-token limit, or is answered."""
    server = provider_server(script=[plan(0.05, 10), plan(0.05, 0.3)])
    with lasts(0.3, 0.8):
        await failed(FirstTokenTimeout, door(server, provider, first_token=0.3, liveness=0.2))
    assert await seen(server, lambda counters: (counters.live, counters.cut_early) == (0, 1))
    reply = await door(server, provider, first_token=5, liveness=0.2).chat()
    assert reply.text
    assert reply.timings.ttft > 0.28


@both
async def test_pings_are_no_progress_after_content_either(door, provider_server, provider) -> None:
    """Pings between tokens do not hold up the progress limit."""
    plan = (Tokens("One two "), *(Ping(), Wait(0.05)) * 100)
    client = door(server := provider_server(script=[plan]), provider, progress=0.3, liveness=0.2)
    with lasts(0.3, 0.8):
        error = await failed(StreamStalled, client)
    assert (error.phase, error.partial_text, error.tokens) == ("decode", "One two ", 2)
    await unharmed(client, server)
    assert server.counters.cut_early == 1


async def test_a_silent_server_is_dead_at_the_byte_limit(door, provider_server) -> None:
    """Without a byte the liveness limit ends the wait long before the first-token limit, and says so."""
    client = door(server := provider_server(script=[(Role(), Hang())]), first_token=5, liveness=0.25)
    with lasts(0.25, 0.75):
        error = await failed(FirstTokenTimeout, client)
    assert "no byte for 0.25 s" in str(error)
    await unharmed(client, server)


JSON_ANSWER = orjson.dumps(
    {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Whole."}, "finish_reason": "stop"}]}
)


@pytest.mark.parametrize("lines", [b"", b"\n", b" \r\n\n\n"])
async def test_blank_lines_then_json(door, provider_server, lines) -> None:
    """A server that ignores `stream` may send blank lines, then one JSON document: they are skipped, it is read."""
    head = Status(200, {"content-type": "application/json"})
    plan = (head, *(Send(lines), Wait(0.05)) * 4 * bool(lines), Send(JSON_ANSWER), EndBody())
    client = door(server := provider_server(script=[plan]), liveness=0.2)
    reply = await client.chat()
    assert (reply.text, reply.finish_reason) == ("Whole.", "stop")
    await unharmed(client, server)


async def test_blank_lines_are_no_first_token_of_a_json_answer(door, provider_server) -> None:
    """Blank lines before JSON keep the connection alive; the first-token limit ends the call."""
    head = Status(200, {"content-type": "application/json"})
    server = provider_server(script=[(head, *(Send(b"\n"), Wait(0.05)) * 100)])
    client = door(server, first_token=0.3, liveness=0.2)
    with lasts(0.3, 0.8):
        await failed(FirstTokenTimeout, client)
    await unharmed(client, server)


@pytest.mark.parametrize(
    "plan, phase",
    [
        ((Wait(0.6),), "headers"),
        (faults.headers_then_silence(10), "first_token"),
        (faults.stall(3), "decode"),
        (faults.slow(0.05), "decode"),
    ],
    ids=["headers", "first_token", "stalled", "slow"],
)
async def test_one_deadline_for_the_whole_call(door, provider_server, plan, phase) -> None:
    """A call's own `timeout` ends it in whatever phase it is, also while tokens come; the error names the phase."""
    client = door(server := provider_server(script=[plan], answer="word" * 60))
    with lasts(0.25, 0.75):
        error = await failed(DeadlineExceeded, client, timeout=0.25)
    assert error.phase == phase
    assert isinstance(error, TimeoutError)
    assert bool(error.partial_text) == (phase == "decode")
    await unharmed(client, server, within=0.25 if phase != "headers" else 1.0)


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [(Reset(),), (Close(),)], ids=["reset", "closed"])
async def test_lost_before_the_headers(door, provider_server, plan) -> None:
    """A connection that breaks before the answer begins is a retryable connection error."""
    client = door(server := provider_server(script=[plan]))
    error = await failed(ConnectFailed, client)
    assert error.retryable
    assert isinstance(error, ConnectionError)
    await unharmed(client, server)


@both
@pytest.mark.parametrize("end", [Reset(), Close(), EndBody()], ids=lambda step: type(step).__name__)
async def test_lost_before_the_first_token(door, provider_server, provider, end) -> None:
    """An answer that breaks off before its first content has cost the user nothing: the error may be retried."""
    client = door(server := provider_server(script=[(Role(), end)]), provider)
    with pytest.raises(FastClientError) as caught:
        await client.chat()
    assert caught.value.retryable
    await unharmed(client, server)


async def test_nobody_listens(door, provider_server) -> None:
    """A refused connection is `ConnectFailed`, at once."""
    server = provider_server()
    client = door(server)
    server.stop()
    with lasts(0, 0.5):
        error = await failed(ConnectFailed, client)
    assert error.retryable


async def test_nobody_answers_the_connect(door, provider_server) -> None:
    """An address that swallows packets costs `Timeouts.connect`, and the error says it was the connecting."""
    client = door(provider_server(), connect=0.3)
    with blackhole() as origin:
        client.client._core.target = type(client.client._core.target)("openai:m", base_url=origin)
        with lasts(0.3, 1.0):
            error = await failed(ConnectTimeout, client)
    assert (error.phase, error.retryable) == ("connect", True)


# --- error answers ----------------------------------------------------------------------------------------------------

STATUSES = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    413: errors.BadRequest,
    422: errors.BadRequest,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    503: errors.Overloaded,
    529: errors.Overloaded,
}


@both
@pytest.mark.parametrize("code", STATUSES)
async def test_an_error_status_is_raised_at_once(door, provider_server, provider, code) -> None:
    """Each status is its class, with the provider's body, request id and wish; nobody asks a second time."""
    client = door(server := provider_server(script=[faults.status(code, retry_after="7", message="No!")]), provider)
    with lasts(0, 0.5):
        error = await failed(STATUSES[code], client)
    assert (error.provider, error.status_code, error.retry_after) == (provider, code, 7.0)
    assert orjson.loads(error.body)["error"]["message"] == "No!"
    assert error.request_id == error.attempts[0].request_id == "req_00000000"
    assert error.retryable == (code in (429, 500, 503, 529))
    await unharmed(client, server)


def in_a_minute(zone: str = "GMT") -> str:
    return formatdate(time.time() + 60, usegmt=True).replace("GMT", zone)


IGNORED = [
    {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
    *({"retry-after": form} for form in ("-1", "NaN", "inf", "1e308", "", "soon", "5 apples", "Wed, 99 Foo 2015")),
    {"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"},
    {"retry-after": "Sat, 01 Jan 0001 00:00:00 +2359"},
    {"retry-after-ms": "abc"},
    {"retry-after-ms": "-5"},
]


async def test_odd_retry_after_headers_are_ignored(door, provider_server) -> None:
    """A wish that is past, negative, endless or unreadable counts as not given; none of them breaks the call."""
    client = door(provider_server(script=[(Status(429, form),) for form in IGNORED]))
    seen_as = [(form, (await failed(errors.RateLimited, client)).retry_after) for form in IGNORED]
    assert seen_as == [(form, None) for form in IGNORED]


async def test_readable_retry_after_headers_are_understood(door, provider_server) -> None:
    """Seconds, fractions, milliseconds, dates and even three days are told as they are; no call waits for them."""
    forms = [
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "277403"}, 277403.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "abc", "retry-after": "7"}, 7.0),
        ({"retry-after": in_a_minute()}, pytest.approx(60, abs=3)),
        ({"retry-after": in_a_minute("-0000")}, pytest.approx(60, abs=3)),
    ]
    client = door(provider_server(script=[(Status(429, form),) for form, _ in forms]))
    with lasts(0, 2):
        seen_as = [(form, (await failed(errors.RateLimited, client)).retry_after) for form, _ in forms]
    assert seen_as == forms


async def test_the_server_says_whether_to_retry(door, provider_server) -> None:
    """`x-should-retry` overrules what the status says; other values than true and false do not count."""
    wishes = [(503, "false", False), (429, "false", False), (400, "true", True), (503, "maybe", True), (400, "", False)]
    client = door(provider_server(script=[(Status(code, {"x-should-retry": wish}),) for code, wish, _ in wishes]))
    heard = [(code, wish, (await failed(STATUSES[code], client)).retryable) for code, wish, _ in wishes]
    assert heard == wishes


async def test_an_error_body_that_never_ends(door, provider_server) -> None:
    """The error is raised with what was read, when the call's deadline comes (or two seconds are over)."""
    client = door(server := provider_server(script=[faults.never_ending_error(503)]))
    with lasts(0.25, 0.75):
        error = await failed(errors.Overloaded, client, timeout=0.25)
    assert (error.status_code, error.body) == (503, '{"error":{"message":"The server had an err')
    await unharmed(client, server)
    assert server.counters.cut_early == 1


async def test_an_endless_error_body_is_cut(door, provider_server) -> None:
    """Of an error at most 64 KiB are kept."""
    plan = (Status(500), *(Send(b"x" * 50_000),) * 20, Hang())
    client = door(server := provider_server(script=[plan]))
    with lasts(0, 1):
        error = await failed(ServerFailed, client)
    assert error.body == "x" * 65536
    await unharmed(client, server)


@both
async def test_an_html_page_is_no_answer(door, provider_server, provider) -> None:
    """A 200 with an HTML page is a broken gateway: a server failure that may be retried, page included."""
    client = door(server := provider_server(script=[faults.html_page()]), provider)
    error = await failed(ServerFailed, client)
    assert (error.status_code, error.retryable) == (200, True)
    assert "<h1>Bad gateway</h1>" in error.body
    assert "HTML" in str(error)
    await unharmed(client, server)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"choices":[{}]}', b'{"choi', b"null", b'"sorry"', b"", b"\xff\xfe"])
async def test_unreadable_json_is_no_answer(door, provider_server, body) -> None:
    """A 200 whose JSON holds no answer may be retried; it is never a lookup error, never an empty success."""
    plan = (Status(200, {"content-type": "application/json"}, body),)
    client = door(server := provider_server(script=[plan]))
    error = await failed(ServerFailed, client)
    assert error.retryable
    await unharmed(client, server)


KINDS = {
    "overloaded_error": errors.Overloaded,
    "rate_limit_error": errors.RateLimited,
    "rate_limit_exceeded": errors.RateLimited,
    "api_error": errors.ServerFailed,
    "server_error": errors.ServerFailed,
    "something_new": errors.ServerFailed,
    "invalid_request_error": errors.BadRequest,
    "authentication_error": errors.AuthenticationFailed,
}


@both
@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_event_before_content(door, provider_server, provider, kind) -> None:
    """An error inside a 200 stream is raised as the class its status would have been."""
    client = door(server := provider_server(script=[(Role(), ErrorEvent(kind, "Sorry"), EndBody())]), provider)
    error = await failed(KINDS[kind], client)
    assert (error.provider, error.status_code) == (provider, 200)
    assert orjson.loads(error.body)["error"]["message"] == "Sorry"
    await unharmed(client, server)


@both
@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error"])
async def test_an_error_event_after_content(door, provider_server, provider, kind) -> None:
    """An error after content cuts the stream: the text so far is in the error, the provider's error is its cause."""
    plan = (Tokens("One two "), ErrorEvent(kind, "Sorry"), Hang())
    client = door(server := provider_server(script=[plan]), provider)
    with lasts(0, 0.5):
        error = await failed(StreamCut, client)
    assert (error.partial_text, error.tokens, error.retryable) == ("One two ", 2, False)
    assert type(error.__cause__) is KINDS[kind]
    await unharmed(client, server)


# --- streams that go wrong --------------------------------------------------------------------------------------------


@both
async def test_a_stream_without_its_terminal_event(door, provider_server, provider) -> None:
    """A body that ends cleanly but too early is an error with the partial text, not a short answer."""
    client = door(server := provider_server(script=[faults.truncated(5)], answer="word" * 9), provider)
    error = await failed(StreamCut, client)
    assert (error.partial_text, error.tokens) == ("word" * 5, 5)
    with pytest.raises(StreamCut):
        await door(provider_server(script=[faults.truncated(5)]), provider).chat()
    await unharmed(client, server)


async def test_a_finish_reason_is_no_terminal_event(door, provider_server) -> None:
    """The end is the terminal event, not the finish reason: usage and more may have been cut off behind it."""
    finish = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    client = door(server := provider_server(script=[(Tokens("All of it."), finish, EndBody())]))
    error = await failed(StreamCut, client)
    assert error.partial_text == "All of it."
    await unharmed(client, server)


@both
@pytest.mark.parametrize("fault", [faults.reset, faults.closed])
async def test_the_connection_breaks_in_the_middle(door, provider_server, provider, fault) -> None:
    """After 40 of 60 tokens the user has those 40, and an error that has them too."""
    client = door(server := provider_server(script=[fault(40)], answer="word" * 60), provider)
    error = await failed(StreamCut, client)
    assert (error.partial_text, error.tokens) == ("word" * 40, 40)
    assert error.timings.ttft
    await unharmed(client, server)


@both
async def test_silence_in_the_middle(door, provider_server, provider) -> None:
    """An open socket that says nothing more is a stall: raised at the progress limit with the partial text."""
    client = door(server := provider_server(script=[faults.stall(20)], answer="word" * 60), provider, progress=0.3)
    with lasts(0.3, 0.8):
        error = await failed(StreamStalled, client)
    assert (error.phase, error.partial_text, error.tokens) == ("decode", "word" * 20, 20)
    assert "0.3 s" in str(error)
    await unharmed(client, server)
    assert server.counters.cut_early == 1


THINKING = {
    "anthropic": (Role(), block("thinking")),
    "openai": (delta(reasoning_content="Hm."),),
}
thinkers = pytest.mark.parametrize("provider, thought", THINKING.items(), ids=THINKING)


@thinkers
async def test_a_model_that_thinks_and_pings_lives(door, provider_server, provider, thought) -> None:
    """While the model says it thinks and pings come, neither the first-token nor the progress limit kills it."""
    server = provider_server(script=[(*thought, *(Ping(), Wait(0.08)) * 5, Tokens("Done."))])
    client = door(server, provider, first_token=0.2, progress=0.2, liveness=0.2, thinking=5)
    assert (await client.chat()).text == "Done."


@thinkers
async def test_a_model_that_thinks_for_ever_does_not(door, provider_server, provider, thought) -> None:
    """Thinking has a limit of its own, pings or not."""
    server = provider_server(script=[(*thought, *(Ping(), Wait(0.08)) * 50)])
    client = door(server, provider, first_token=0.1, progress=0.1, liveness=0.2, thinking=0.3)
    kind = FirstTokenTimeout if provider == "anthropic" else StreamStalled  # reasoning deltas are content
    with lasts(0.3, 0.8):
        error = await failed(kind, client)
    assert "0.3 s" in str(error)
    await unharmed(client, server)


@both
async def test_one_malformed_event_is_skipped(door, provider_server, provider) -> None:
    """A single broken event costs nothing but a count."""
    client = door(server := provider_server(script=[faults.malformed(3)], answer="word" * 9), provider)
    reply = await client.chat()
    assert (reply.text, reply.malformed_events, reply.finish_reason) == ("word" * 9, 1, "stop")
    await unharmed(client, server)


@both
async def test_broken_events_apart_are_each_skipped(door, provider_server, provider) -> None:
    """Broken events are forgiven as long as the next one is readable."""
    plan = (Tokens(2), Malformed(), Tokens(2), Malformed(), Tokens(2), Malformed())
    reply = await door(provider_server(script=[plan], answer="word" * 9), provider).chat()
    assert (reply.text, reply.malformed_events) == ("word" * 9, 3)


@both
async def test_two_malformed_events_in_a_row(door, provider_server, provider) -> None:
    """A stream that stays unreadable is corrupt, with what came before it in the error."""
    plan = (Tokens(3), Malformed(), Ping(), Malformed(), Finish())
    if provider == "anthropic":  # there a ping is a readable event
        plan = (Tokens(3), Malformed(), Malformed(), Finish())
    client = door(server := provider_server(script=[plan], answer="word" * 9), provider)
    error = await failed(StreamCut, client)
    assert (error.partial_text, error.tokens) == ("word" * 3, 3)
    await unharmed(client, server)


TEXT = "Grüße 🎉 漢字\r\n\u2028 data: e\u0301"


@both
async def test_any_segmentation_gives_the_same_text(door, provider_server, provider) -> None:
    """Events that arrive in segments of a single byte read like events that arrive whole."""
    plan = (Split(Tokens(TEXT), every=1), Split(Finish(), every=7))
    client, pieces = door(server := provider_server(script=[plan]), provider), []
    reply = await client.read(pieces)
    assert ("".join(pieces), reply.text, reply.malformed_events) == (TEXT, TEXT, 0)
    await unharmed(client, server)


async def test_lines_may_end_in_crlf(door, provider_server) -> None:
    """A CRLF cut between two segments is one line end."""
    body = delta(content=TEXT).data * 2 + b"data: [DONE]\n\n"
    plan = (Split(Send(body.replace(b"\n", b"\r\n")), every=1), EndBody())
    assert (await door(provider_server(script=[plan])).chat()).text == TEXT * 2


# --- secrets ----------------------------------------------------------------------------------------------------------

KEY, PROMPT = "sk-canary-0123456789", 'My "canary"\nis a bird of the tunnel\u00e9 and it sings when all is well'


def echoes(form: str):
    """A script that writes the caller's own key and prompt into its errors."""

    def script(request):
        echoed = {"whole": PROMPT, "part": PROMPT[:20], "escaped": orjson.dumps(PROMPT).decode(), "raw": PROMPT}[form]
        message = f"Key {request.headers.get('authorization') or request.headers['x-api-key']} said: {echoed}"
        if form == "raw":
            return (Status(400, {"content-type": "text/plain"}, message.encode()),)
        return faults.status(400, message=message) if request.arrival == 0 else (ErrorEvent("api_error", message),)

    return script


@both
@pytest.mark.parametrize("form", ["whole", "escaped", "part", "raw"])
async def test_nothing_secret_in_an_error(door, provider_server, provider, form) -> None:
    """A provider may echo key and prompt: neither gets into str, repr or traceback, and the key not even into body."""
    client = door(provider_server(script=echoes(form)), provider, api_key=KEY)
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            await client.chat(PROMPT)
        error = caught.value
        shown = "".join([str(error), repr(error), *traceback.format_exception(error), repr(error.attempts)])
        assert KEY not in shown + error.body
        assert "canary" not in shown
