"""Where a call goes when its first target fails, and how an answer that broke off goes on.

In virtual time; the last section is about sockets, and runs in all worlds.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from fastclient import AsyncClient, Hedge, Limits, Policy, Retry, Route, Target, Timeouts
from fastclient.errors import (
    ConnectFailed,
    ConnectTimeout,
    DeadlineExceeded,
    FastClientError,
    FirstTokenTimeout,
    Overloaded,
    ServerFailed,
    StreamCut,
    StreamStalled,
)
from fastclient.testing import (
    Answer,
    EndBody,
    ErrorEvent,
    Event,
    FakeProvider,
    Hang,
    Reset,
    Role,
    ServerRequest,
    Tokens,
    ToolCall,
    Wait,
    faults,
)
from tests.engine.doors import WORLDS, AsyncDoor, ThreadDoor

PROMPT = "Say something."


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if "world" in request.fixturenames:
        return "trio" if request.getfixturevalue("world").startswith("trio") else "asyncio"
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def place(name: str) -> Target:
    """A target at some compatible server."""
    return Target(name, base_url="https://llm.internal/v1")


class Places:
    """A client with several places to go to; what the next requests for a model meet is said by model."""

    def __init__(self, *names: str | Target, recover: Any = None, **levers: Any) -> None:
        self.plans: dict[str, deque[Any]] = defaultdict(deque)
        self.fake = FakeProvider(self._plan)
        first, *fallback = [place(name) if isinstance(name, str) else name for name in names]
        policy = {"retry": None, "timeouts": Timeouts(total=1000), **levers}
        route = Route(fallback=tuple(fallback), recover=recover)
        self.client = AsyncClient(first, wire=self.fake, policy=Policy(route=route, **policy))

    def _plan(self, request: ServerRequest) -> Any:
        plans = self.plans[request.model]
        return plans.popleft() if plans else (Tokens(f"From {request.model}."),)

    def meet(self, model: str, *plans: Any) -> None:
        self.plans[model].extend(plans)

    @property
    def asked(self) -> list[str]:
        """The models of all requests so far."""
        return [request.model for request in self.fake.requests]

    async def read(self, into: list[str], **options: Any) -> Any:
        async with self.client.stream(PROMPT, **options) as stream:
            async for text in stream.text:
                into.append(text)
            return await stream.reply()


@pytest.fixture
async def places() -> AsyncIterator[Callable[..., Places]]:
    made: list[Places] = []

    def make(*args: Any, **options: Any) -> Places:
        made.append(Places(*args, **options))
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()
        assert each.fake.live == 0


def story(attempts: Any) -> list[tuple[str, str]]:
    return [(attempt.role, attempt.outcome) for attempt in attempts]


# --- where to go next -------------------------------------------------------------------------------------------------


async def test_the_order_is_the_users(places) -> None:
    """One after the other, as named, until one answers; the reply says which, and that it is another model."""
    here = places("openai:a", "openai:b", "anthropic:c", "openai:d")
    here.meet("a", faults.status(500))
    here.meet("b", faults.status(529))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.target, reply.degraded) == ("From c.", "anthropic:c", True)
    assert [attempt.target for attempt in reply.attempts] == ["openai:a", "openai:b", "anthropic:c"]
    assert story(reply.attempts) == [("primary", "failed"), ("fallback", "failed"), ("fallback", "won")]
    assert here.asked == ["a", "b", "c"]


async def test_the_same_model_elsewhere_is_no_degradation(places) -> None:
    """A fallback to the same model at another server is as good as the first."""
    here = places("openai:a", Target("openai:a", base_url="https://other.example/v1"))
    here.meet("a", faults.status(500))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.target, reply.degraded) == ("From a.", "openai:a", False)


GOES_ON = {
    "500": faults.status(500),
    "502": faults.status(502),
    "503": faults.status(503),
    "529": faults.status(529),
    "429": faults.status(429, retry_after="5"),
    "429 for days": faults.status(429, retry_after="277403"),
    "account empty": faults.status(429, kind="insufficient_quota"),
    "html": faults.html_page(),
    "overloaded event": faults.overloaded_event(),
    "broken event": (Role(), ErrorEvent("api_error", "Sorry"), EndBody()),
    "reset": faults.reset(0),
    "cut before content": (Role(), Reset()),
    "ended before content": (Role(), EndBody()),
    "no connection": ConnectFailed("nobody there"),
    "no answer to the connect": ConnectTimeout("nobody there"),
    "unreadable": (Event(b"data: {\n\n"), Event(b"data: {\n\n"), EndBody()),
}


@pytest.mark.parametrize("fault", GOES_ON.values(), ids=GOES_ON)
async def test_what_sends_a_call_elsewhere(places, fault: Any) -> None:
    """No capacity, a broken server, a lost connection: the next target is asked in that very moment."""
    here = places("openai:a", "openai:b")
    here.meet("a", fault)
    start = anyio.current_time()
    assert (await here.client.chat(PROMPT)).text == "From b."
    assert anyio.current_time() == start


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422])
async def test_a_refused_request_goes_nowhere(places, code: int) -> None:
    """What a provider says no to is raised: another one is not asked."""
    here = places("openai:a", "openai:b")
    here.meet("a", faults.status(code))
    with pytest.raises(FastClientError) as caught:
        await here.client.chat(PROMPT)
    assert (caught.value.status_code, here.asked) == (code, ["a"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [Reset(), EndBody(), Hang(), ErrorEvent("overloaded_error", "Sorry")])
async def test_content_that_was_shown_stays_alone(places, end: Any) -> None:
    """Once there was content, no other target's text is put behind it: the break is an error with what had come."""
    here = places("openai:a", "openai:b")
    here.meet("a", (Tokens("One two "), end, EndBody()))
    with pytest.raises((StreamCut, StreamStalled)) as caught:
        await here.client.chat(PROMPT)
    assert (caught.value.partial_text, here.asked) == ("One two ", ["a"])


async def test_no_first_token(places) -> None:
    """A target that shows nothing within the first-token limit is left for the next."""
    here = places("openai:a", "openai:b", timeouts=Timeouts(total=100, first_token=7))
    here.meet("a", faults.pings(1, 50))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, anyio.current_time()) == ("From b.", pytest.approx(7))
    assert isinstance(reply.attempts[0].error, FirstTokenTimeout)
    assert reply.timings.ttft == pytest.approx(7)


async def test_the_deadline_is_the_calls(places) -> None:
    """However many targets there are, they share one deadline; when it has passed nobody else is asked."""
    here = places("openai:a", "openai:b", "openai:c", timeouts=Timeouts(total=10, first_token=8))
    here.meet("a", (Hang(),))
    here.meet("b", (Hang(),))
    with pytest.raises(DeadlineExceeded) as caught:
        await here.client.chat(PROMPT)
    assert anyio.current_time() == pytest.approx(10, abs=0.1)
    assert (here.asked, len(caught.value.attempts)) == (["a", "b"], 2)


async def test_the_last_error_is_raised(places) -> None:
    """When all have failed the last one's error comes out, and the attempts have each one's."""
    here = places("openai:a", "openai:b", "openai:c")
    here.meet("a", faults.status(500))
    here.meet("b", faults.reset(0))
    here.meet("c", faults.status(529))
    with pytest.raises(Overloaded) as caught:
        await here.client.chat(PROMPT)
    kinds = [type(attempt.error) for attempt in caught.value.attempts]
    assert kinds == [ServerFailed, ConnectFailed, Overloaded]
    assert caught.value.attempts[-1].error is caught.value


ONCE = {"extra_body": {"store": True}}


@pytest.mark.parametrize("fault", [faults.status(429), faults.status(503), ConnectTimeout("nobody there")])
async def test_what_must_not_be_repeated_goes_on_untouched(places, fault: Any) -> None:
    """A request that may be answered once goes elsewhere when the first target did nothing about it."""
    here = places("openai:a", "openai:b")
    here.meet("a", fault)
    assert (await here.client.chat(PROMPT, **ONCE)).text == "From b."


@pytest.mark.parametrize("fault", [faults.status(500), faults.reset(0), (Hang(),), (Role(), Reset())])
async def test_what_must_not_be_repeated_is_not(places, fault: Any) -> None:
    """A request that may be answered once goes nowhere when the first target may have begun."""
    here = places("openai:a", "openai:b", timeouts=Timeouts(first_token=5))
    here.meet("a", fault)
    with pytest.raises(FastClientError):
        await here.client.chat(PROMPT, **ONCE)
    assert here.asked == ["a"]


@pytest.mark.parametrize("options", [{}, ONCE], ids=["any", "once"])
async def test_no_room_here(places, options: Any) -> None:
    """A full target is waited for a second at most if there is another; nothing was sent, so any request may go on."""
    here = places("openai:a", "openai:b", limits=Limits(concurrency=1))
    here.meet("a", (Wait(50), Tokens("Slow.")))
    async with anyio.create_task_group() as others:
        others.start_soon(here.client.chat, PROMPT)
        await anyio.sleep(1)
        reply = await here.client.chat(PROMPT, **options)
        assert (reply.text, anyio.current_time()) == ("From b.", pytest.approx(2))


async def test_a_broken_target_is_passed_over(places) -> None:
    """Found broken ten times, it is not asked for five seconds; then one call looks, and all come back."""
    here = places("openai:a", "openai:b")
    here.meet("a", *[faults.status(500)] * 10)
    for _ in range(10):
        await here.client.chat(PROMPT)
        await anyio.sleep(0.1)
    reply = await here.client.chat(PROMPT)
    assert (reply.text, story(reply.attempts)) == ("From b.", [("fallback", "won")])
    await anyio.sleep(5)
    assert [(await here.client.chat(PROMPT)).text for _ in range(3)] == ["From a."] * 3


async def test_one_call_looks_whether_it_is_back(places) -> None:
    """While that one waits for its answer, the others go elsewhere at once."""
    here = places("openai:a", "openai:b")
    here.meet("a", *[faults.status(500)] * 10, (Wait(3), Tokens("Back.")))
    for _ in range(10):
        await here.client.chat(PROMPT)
    await anyio.sleep(5.5)
    texts: list[str] = []

    async def call() -> None:
        texts.append((await here.client.chat(PROMPT)).text)

    async with anyio.create_task_group() as calls:
        for _ in range(5):
            calls.start_soon(call)
    assert sorted(texts) == ["Back.", *["From b."] * 4]


async def test_the_only_target_is_never_passed_over(places) -> None:
    """However broken, the only place there is gets every call."""
    here = places("openai:a")
    here.meet("a", *[faults.status(500)] * 30)
    for _ in range(30):
        with pytest.raises(ServerFailed):
            await here.client.chat(PROMPT)
    assert (await here.client.chat(PROMPT)).text == "From a."
    assert len(here.asked) == 31


async def test_all_broken_is_no_reason_to_give_up(places) -> None:
    """When every target was found broken, the last of the list is asked all the same."""
    here = places("openai:a", "openai:b")
    for model in ("a", "b"):
        here.meet(model, *[faults.status(500)] * 10)
    for _ in range(10):
        with pytest.raises(ServerFailed):
            await here.client.chat(PROMPT)
    assert (await here.client.chat(PROMPT)).text == "From b."


@pytest.mark.parametrize(
    "fault, asked",
    [(faults.status(500), ["a", "a"]), (faults.status(529), ["a", "b"]), (faults.status(429), ["a", "b"])],
)
async def test_what_is_tried_again_here(places, fault: Any, asked: list[str]) -> None:
    """With retries and another target: what broke is tried again here, want of capacity goes elsewhere at once."""
    here = places("openai:a", "openai:b", retry=Retry())
    here.meet("a", fault)
    reply = await here.client.chat(PROMPT)
    assert here.asked == asked
    assert story(reply.attempts)[1] == ("retry" if asked == ["a", "a"] else "fallback", "won")


# --- going on with the rest -------------------------------------------------------------------------------------------

WORDS = "word" * 60
CUT = (Tokens("word" * 40), Reset())


@pytest.mark.parametrize("fault", [Reset(), EndBody(), Hang(), ErrorEvent("overloaded_error", "Sorry")])
async def test_the_rest_is_asked_for(places, fault: Any) -> None:
    """After 40 of 60 tokens the answer breaks off: the provider is asked to go on, and no token comes twice."""
    here = places("openai:a", recover="resume", retry=Retry())
    here.meet("a", (Tokens("word" * 40), fault, EndBody()), (Tokens("word" * 20),))
    pieces: list[str] = []
    reply = await here.read(pieces)
    assert "".join(pieces) == reply.text == WORDS
    assert reply.recovered == "resume"
    assert story(reply.attempts) == [("primary", "failed"), ("retry", "won")]
    assert reply.finish_reason == "stop"


async def test_how_the_rest_is_asked_for(places) -> None:
    """The second request holds the first, and what came of the answer as a message that is to be gone on with."""
    here = places("openai:a", recover="resume", retry=Retry())
    here.meet("a", CUT, (Tokens("word" * 20),))
    await here.client.chat(PROMPT, temperature=0.5)
    first, second = (dict(request.json) for request in here.fake.requests)
    assert second["messages"] == [*first["messages"], {"role": "assistant", "content": "word" * 40}]
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert second["temperature"] == 0.5


async def test_the_usage_of_both_parts(places) -> None:
    """What both parts took is added up, and nothing of it was wasted: all of it is in the answer."""
    here = places("openai:a", recover="resume", retry=Retry())
    here.meet("a", CUT, (Tokens("word" * 20),))
    reply = await here.client.chat(PROMPT)
    alone = (await here.client.chat(PROMPT)).usage
    assert reply.usage.output_tokens == 60
    assert alone.input_tokens and reply.usage.input_tokens
    assert reply.usage.input_tokens > alone.input_tokens + 40  # the second prompt has the first 40 tokens in it
    assert reply.usage.wasted_tokens == 0


@pytest.mark.parametrize("shown, rest", [(" ", ""), (" ", " "), ("\n\n", "\n"), ("\n\n", "")])
async def test_white_space_at_the_seam(places, shown: str, rest: str) -> None:
    """A text that ends in white space is sent without it; however the rest begins, what was shown counts."""
    here = places("openai:a", recover="resume", retry=Retry())
    here.meet("a", (Tokens(f"One two{shown}"), Reset()), (Tokens(f"{rest}three four."),))
    pieces: list[str] = []
    reply = await here.read(pieces)
    assert "".join(pieces) == reply.text == f"One two{shown}three four."
    assert here.fake.requests[1].json["messages"][-1]["content"] == "One two"  # type: ignore[index]


async def test_claude_goes_on_behind_its_own_words(places) -> None:
    """Models that take a last message of their own are asked that way; newer ones cannot be."""
    here = places("anthropic:claude-sonnet-4-5", recover="resume", retry=Retry())
    here.meet("claude-sonnet-4-5", CUT, (Tokens("word" * 20),))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.recovered, reply.usage.output_tokens) == (WORDS, "resume", 60)
    newer = places("anthropic:claude-sonnet-5", recover="resume", retry=Retry())
    newer.meet("claude-sonnet-5", CUT)
    with pytest.raises(StreamCut):
        await newer.client.chat(PROMPT)


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1", "https://us.openai.azure.com/openai/v1"])
async def test_where_the_rest_cannot_be_asked_for(places, url: str | None) -> None:
    """OpenAI's own servers do not go on with an answer: the break is an error, and nobody is asked a second time."""
    here = places(Target("openai:a", base_url=url), recover="resume", retry=Retry())
    here.meet("a", CUT)
    pieces: list[str] = []
    with pytest.raises(StreamCut) as caught:
        await here.read(pieces)
    assert "".join(pieces) == caught.value.partial_text == "word" * 40
    assert (caught.value.tokens, here.asked) == (40, ["a"])


async def test_it_may_break_off_twice(places) -> None:
    """Two breaks are mended, a third is an error with all that had come, in the order it came."""
    here = places("openai:a", recover="resume", retry=Retry())
    here.meet("a", *[(Tokens(f"part {number}, "), Reset()) for number in range(3)])
    with pytest.raises(StreamCut) as caught:
        await here.client.chat(PROMPT)
    assert caught.value.partial_text == "part 0, part 1, part 2, "
    assert len(here.asked) == 3
    here.meet("a", *[(Tokens(f"part {number}, "), Reset()) for number in range(2)], (Tokens("the end."),))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.usage.wasted_tokens) == ("part 0, part 1, the end.", 0)


async def test_the_rest_fails(places) -> None:
    """When the rest cannot be had, the break is the error, with the failure as its cause, and both in the attempts."""
    here = places("openai:a", recover="resume", retry=Retry(attempts=1))
    here.meet("a", CUT, faults.status(400))
    with pytest.raises(StreamCut) as caught:
        await here.client.chat(PROMPT)
    assert caught.value.partial_text == "word" * 40
    assert getattr(caught.value.__cause__, "status_code", None) == 400
    assert story(caught.value.attempts) == [("primary", "failed"), ("retry", "failed")]


async def test_the_rest_is_asked_of_who_had_begun(places) -> None:
    """An answer of the second target is gone on with there: the first is another model, and was found broken."""
    here = places("openai:a", "openai:b", recover="resume", retry=Retry(attempts=1))
    here.meet("a", faults.status(500))
    here.meet("b", CUT, (Tokens("word" * 20),))
    reply = await here.client.chat(PROMPT)
    assert here.asked == ["a", "b", "b"]
    assert (reply.text, reply.target) == (WORDS, "openai:b")


async def test_a_race_before_the_break(places) -> None:
    """The break of a primary whose copy had failed: its tokens are in the answer, and count as used."""
    here = places("openai:a", recover="resume", retry=Retry(), hedge=Hedge(budget=0.05))
    for _ in range(60):
        here.meet("a", (Wait(1), Tokens("Usual.")))
        await here.client.chat(PROMPT, hedge=False)
    here.meet("a", (Wait(9), *CUT), faults.status(500), (Tokens("word" * 20),))
    reply = await here.client.chat(PROMPT, hedge=True)
    assert story(reply.attempts) == [("primary", "failed"), ("hedge", "failed"), ("retry", "won")]
    assert (reply.text, reply.usage.output_tokens, reply.usage.wasted_tokens) == (WORDS, 60, 0)


@pytest.mark.parametrize("recover", ["resume", "restart"])
async def test_what_must_not_be_repeated_is_not_recovered(places, recover: str) -> None:
    """A stored answer that breaks off is not asked for again."""
    here = places("openai:a", recover=recover, retry=Retry())
    here.meet("a", CUT)
    with pytest.raises(StreamCut):
        await here.client.chat(PROMPT, **ONCE)
    assert here.asked == ["a"]


@pytest.mark.parametrize("recover", ["resume", "restart"])
async def test_recovery_without_retries(places, recover: str) -> None:
    """Going on was asked for by name: it does not take the retry lever as well."""
    here = places("openai:a", recover=recover, retry=None)
    here.meet("a", CUT, (Tokens("word" * (20 if recover == "resume" else 60)),))
    assert (await here.client.chat(PROMPT)).text == WORDS


async def test_recoveries_are_paid_for_like_retries(places) -> None:
    """When every answer breaks off, ten are mended and then one in ten: an upstream in trouble is not asked twice."""
    here = places("openai:a", recover="restart", retry=Retry())
    here.meet("a", *[CUT] * 500)
    failures = []
    for _ in range(100):
        with pytest.raises(StreamCut) as caught:
            await here.client.chat(PROMPT)
        failures.append(caught.value)
    assert len(here.asked) - 100 <= 10 + 0.1 * 100
    assert failures[-1].partial_text == "word" * 40


async def test_a_call_may_ask_for_it(places) -> None:
    """`recover` of one call goes before the route's."""
    here = places("openai:a", retry=Retry())
    here.meet("a", CUT, (Tokens("word" * 20),))
    assert (await here.client.chat(PROMPT, recover="resume")).text == WORDS


# --- asking again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [True, False], ids=["stream", "chat"])
async def test_asked_again_and_repeated(places, shown: bool) -> None:
    """The second answer repeats the first word for word: what was shown is skipped, the rest is shown."""
    here = places("openai:a", recover="restart", retry=Retry())
    here.meet("a", CUT, (Tokens(WORDS),))
    pieces: list[str] = []
    reply = await here.read(pieces) if shown else await here.client.chat(PROMPT)
    assert reply.text == WORDS == ("".join(pieces) if shown else WORDS)
    assert (reply.recovered, reply.usage.output_tokens) == ("restart", 60)
    assert here.fake.requests[0].body == here.fake.requests[1].body
    assert reply.usage.wasted_tokens == 40


async def test_repeated_in_other_pieces(places) -> None:
    """How the second answer is cut into pieces does not matter, nor where the first broke off."""
    text = "One two three four five six seven."
    for at in range(1, len(text), 5):
        here = places("openai:a", recover="restart", retry=Retry())
        again = Answer(pieces=(text[:2], text[2:3], text[3:20], text[20:]))
        here.meet("a", (Tokens(text[:at]), Reset()), again)
        pieces: list[str] = []
        assert (await here.read(pieces)).text == "".join(pieces) == text


@pytest.mark.parametrize("second", ["word" * 39 + "other" * 20, "Quite another text.", "word" * 39, "word"])
async def test_asked_again_and_told_otherwise(places, second: str) -> None:
    """The second answer differs from what was shown, or is shorter: the break is an error, with all that was shown."""
    here = places("openai:a", recover="restart", retry=Retry())
    here.meet("a", CUT, (Tokens(second),))
    pieces: list[str] = []
    with pytest.raises(StreamCut) as caught:
        await here.read(pieces)
    assert "".join(pieces) == caught.value.partial_text == "word" * 40
    assert caught.value.tokens == 40
    assert len(caught.value.attempts) == 2


async def test_a_whole_answer_takes_the_place_of_a_broken_one(places) -> None:
    """Nobody saw the first attempt of a `chat`: the second answer counts, whatever it says."""
    here = places("openai:a", recover="restart", retry=Retry())
    here.meet("a", CUT, (Tokens("Quite another text."),))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.recovered) == ("Quite another text.", "restart")
    assert b"word" not in reply.raw


async def test_asking_again_may_go_elsewhere(places) -> None:
    """A second attempt finds its target like the first: where that is broken now, the next one answers."""
    here = places("openai:a", "openai:b", recover="restart", retry=Retry(attempts=1))
    here.meet("a", CUT, faults.status(500))
    reply = await here.client.chat(PROMPT)
    assert (reply.text, reply.target, here.asked) == ("From b.", "openai:b", ["a", "a", "b"])


THOUGHT = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"%b"}}]}\n\n'


async def test_thoughts_are_not_shown_twice(places) -> None:
    """An answer that breaks off while the model thinks: what it thought is not shown a second time."""
    here = places("openai:a", recover="restart", retry=Retry())
    hm, so = Event(THOUGHT % b"Hm. "), Event(THOUGHT % b"So.")
    here.meet("a", (hm, Reset()), (hm, so, Tokens("Done.")))
    async with here.client.stream(PROMPT) as stream:
        shown = "".join([chunk.reasoning async for chunk in stream])
        reply = await stream.reply()
    assert (shown, reply.reasoning, reply.text) == ("Hm. So.", "Hm. So.", "Done.")


CALL = Answer("Let me look. ", tool_calls=(ToolCall("f", {"city": "Paris", "country": "France"}),))
HALF = (
    Tokens("Let me look. "),
    Event(
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":'
        b'{"name":"f","arguments":"{\\"city\\""}}]}}]}\n\n'
    ),
    Reset(),
)


@pytest.mark.parametrize("recover, shown", [("resume", True), ("resume", False), ("restart", True)])
async def test_half_a_tool_call_is_not_mended(places, recover: str, shown: bool) -> None:
    """Half a tool call cannot be gone on with, and a repeated one cannot be told from a second: it is an error."""
    here = places("openai:a", recover=recover, retry=Retry())
    here.meet("a", HALF, CALL)
    with pytest.raises(StreamCut):
        await (here.read([]) if shown else here.client.chat(PROMPT))
    assert here.asked == ["a"]


async def test_a_whole_tool_call_takes_the_place_of_half_a_one(places) -> None:
    """In a `chat` nobody saw the first half: the second answer's call is the only one."""
    here = places("openai:a", recover="restart", retry=Retry())
    here.meet("a", HALF, CALL)
    reply = await here.client.chat(PROMPT)
    assert [call.parsed() for call in reply.tool_calls] == [{"city": "Paris", "country": "France"}]


# --- over sockets, in all worlds --------------------------------------------------------------------------------------


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return request.param


async def read_from(world: str, targets: list[Target], recover: Any, into: list[str]) -> Any:
    """One answer, piece by piece."""
    home, wire = world.split("-")
    policy = Policy(retry=Retry(attempts=1), route=Route(fallback=tuple(targets[1:]), recover=recover))
    door = (ThreadDoor if home == "threads" else AsyncDoor)(targets[0], policy=policy, wire=wire)
    try:
        return await door.read(into)
    finally:
        await door.close()


@pytest.mark.parametrize("fault", [faults.reset(40), faults.closed(40), faults.truncated(40)])
async def test_a_broken_connection_is_gone_on_with(world: str, provider_server: Any, fault: Any) -> None:
    """After 40 of 60 tokens the connection breaks: the rest comes over a new one, and no token twice."""
    server = provider_server(script=[fault, (Tokens("word" * 20),)], answer=WORDS)
    pieces: list[str] = []
    reply = await read_from(world, [Target("openai:a", base_url=server.base_url)], "resume", pieces)
    assert "".join(pieces) == reply.text == WORDS
    assert (reply.recovered, reply.usage.output_tokens) == ("resume", 60)
    assert server.wait_for(lambda counters: (counters.live, counters.open_connections) == (0, 0))


async def test_another_server_answers(world: str, provider_server: Any) -> None:
    """The first server is not there, the second fails, the third answers."""
    gone, failing, well = (provider_server(script=[plan], answer="Well.") for plan in ((), faults.status(500), ()))
    targets = [
        Target(f"openai:{name}", base_url=each.base_url)
        for name, each in zip("abc", (gone, failing, well), strict=True)
    ]
    gone.stop()
    reply = await read_from(world, targets, None, [])
    assert (reply.text, reply.target) == ("Well.", "openai:c")
    assert [type(attempt.error) for attempt in reply.attempts[:2]] == [ConnectFailed, ServerFailed]
