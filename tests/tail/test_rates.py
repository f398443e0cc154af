"""Rate headers: every vendor's way to write them, and nonsense that must not hurt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastclient.providers.rates import Rate, rates

NAMES = [f"x-ratelimit-{field}-{kind}" for field in ("limit", "remaining", "reset") for kind in ("requests", "tokens")]
ANTHROPIC = [f"anthropic-ratelimit-tokens-{field}" for field in ("limit", "remaining", "reset")]


def openai(reset: str, *, kind: str = "requests", limit: str = "500", remaining: str = "499") -> dict[str, str]:
    names = (f"x-ratelimit-{field}-{kind}" for field in ("limit", "remaining", "reset"))
    return dict(zip(names, (limit, remaining, reset), strict=True))


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    "text, seconds",
    [
        *[("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("2m59.56s", 179.56), ("1d", 86400)],
        *[("120µs", 0.00012), ("0s", 0), ("0", 0), ("12", 12), ("0.25", 0.25)],
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Durations as OpenAI, Groq and Go write them, and plain seconds."""
    (rate,) = rates(openai(text))
    assert rate[:3] == ("requests", 500, 499)
    assert rate.reset == pytest.approx(seconds)


@pytest.mark.parametrize("form", ["rfc3339", "naive", "seconds", "milliseconds"])
def test_points_in_time(form: str) -> None:
    """A reset given as a time is counted from now, whichever way the time is written."""
    at = datetime.now(UTC) + timedelta(seconds=90)
    text = {
        "rfc3339": at.isoformat().replace("+00:00", "Z"),
        "naive": at.replace(tzinfo=None).isoformat(),
        "seconds": f"{at.timestamp():.0f}",
        "milliseconds": f"{at.timestamp() * 1000:.0f}",
    }[form]
    (rate,) = rates(openai(text))
    assert rate.reset == pytest.approx(90, abs=1.5)
    assert rate.dated


def test_the_servers_own_clock_counts() -> None:
    """If our clock is an hour off, a reset is still right: it is held against the answer's `date`."""
    theirs = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    headers = openai((theirs + timedelta(seconds=30)).isoformat()) | {"date": format_datetime(theirs, usegmt=True)}
    assert rates(headers)[0].reset == pytest.approx(30)


def test_anthropic() -> None:
    """All four quotas of Anthropic, with their times."""
    headers = {}
    for kind, limit in (("requests", "50"), ("tokens", "60000"), ("input-tokens", "50000"), ("output-tokens", "8000")):
        for field, text in (("limit", limit), ("remaining", "7"), ("reset", moment(20))):
            headers[f"anthropic-ratelimit-{kind}-{field}"] = text
    found = rates(headers)
    assert [(rate.kind, rate.limit, rate.remaining) for rate in found] == [
        *[("requests", 50, 7), ("tokens", 60000, 7), ("input-tokens", 50000, 7), ("output-tokens", 8000, 7)]
    ]
    assert all(rate.reset == pytest.approx(20, abs=1) and rate.dated for rate in found)


def test_a_quota_without_a_name_is_for_requests() -> None:
    """Gateways leave the kind out; a named quota goes before."""
    unnamed = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "3", "x-ratelimit-reset": "7"}
    assert rates(unnamed) == (Rate("requests", 10, 3, 7),)
    assert rates(unnamed | openai("1s")) == (Rate("requests", 500, 499, 1),)


@pytest.mark.parametrize("make", [dict, httpx.Headers], ids=["dict", "httpx"])
def test_headers_of_any_kind(make: type) -> None:
    """A plain mapping and the headers of the httpx family give the same; other headers do not matter."""
    headers = make({"content-type": "text/event-stream"} | openai("1s") | openai("2s", kind="tokens"))
    assert rates(headers) == (Rate("requests", 500, 499, 1), Rate("tokens", 500, 499, 2))
    assert rates(make({"content-type": "text/event-stream"})) == ()


def test_capitals_on_the_wire() -> None:
    """The httpx family keeps the spelling of the wire; it makes no difference."""
    headers = httpx.Headers({"X-RateLimit-Limit-Requests": "5", "X-RateLimit-Remaining-Requests": "4"})
    headers["X-RateLimit-Reset-Requests"] = "1s"
    assert rates(headers) == (Rate("requests", 5, 4, 1),)


@pytest.mark.parametrize(
    "text",
    [
        *["", "soon", "-1", "-5s", "NaN", "inf", "1e308", "1s?", "s", "5 s", "99999999", "9" * 400, "1d" * 40],
        *["2001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "978307200", "1e300"],
    ],
)
def test_a_reset_that_makes_no_sense(text: str) -> None:
    """Empty, negative, endless, past and unreadable resets leave that quota out, and only that one."""
    assert rates(openai(text) | openai("1s", kind="tokens")) == (Rate("tokens", 500, 499, 1),)


@pytest.mark.parametrize("text", ["", "many", "-1", "NaN", "inf", "1e308", "5, 5"])
@pytest.mark.parametrize("field", ["limit", "remaining"])
def test_a_count_that_makes_no_sense(field: str, text: str) -> None:
    """So do counts that are none; and one header missing is enough."""
    headers = openai("1s", **{field: text})
    assert rates(headers) == ()
    del headers[f"x-ratelimit-{field}-requests"]
    assert rates(headers) == ()


def test_a_limit_of_nothing() -> None:
    """A limit of 0 is how some say that there is none."""
    assert rates(openai("1s", limit="0", remaining="0")) == ()


@given(st.dictionaries(st.sampled_from([*NAMES, *ANTHROPIC, "date"]), st.text()))
@example(dict.fromkeys(NAMES, "1") | {"x-ratelimit-reset-requests": "2030-01-01T00:00:00Z", "date": ",,,"})
@example(openai("٣s", limit="٣", remaining="٣"))
def test_no_text_in_any_header_raises(headers: dict[str, str]) -> None:
    """Whatever a server writes, what comes out is finite and not negative, or nothing."""
    for rate in rates(headers):
        assert 0 < rate.limit <= 1e15 and 0 <= rate.remaining <= 1e15 and 0 <= rate.reset <= 366 * 86400


@given(st.text(max_size=40))
def test_no_date_raises(date: str) -> None:
    """Nor does a `date` that is none: our own clock counts then."""
    assert len(rates(openai(moment(60)) | {"date": date})) <= 1
