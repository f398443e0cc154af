"""What a route serves, by which rule and how often it checks: from nothing known to much that is proved."""

from __future__ import annotations

import random

import pytest

from fastclient.cache.semantic.route import RULES, Mode, Route, Terms

RIGHT, WRONG = (0.9, 0.8, 0.8), (0.2, 0.8, 0.8)  # what candidates score: only the verifier tells them apart


def made(mode: Mode = "auto", *, max_error: float = 0.05, rate: float = 0.2, seed: int = 1) -> Route:
    return Route(Terms(max_error=max_error, mode=mode, rate=rate, kind="sentence"), random.Random(seed).random)


def taught(route: Route, requests: int) -> Route:
    """After so many requests that were asked of the provider, half of which could have been answered."""
    for number in range(requests):
        route.asked()
        right = number % 2 == 0
        route.learned([RIGHT if right else WRONG], [right])
    return route


def used(route: Route, requests: int, right: bool = True) -> list[float]:
    """With which rates of checks the next requests were served, all of them in the same way right or wrong."""
    rates = []
    for _ in range(requests):
        route.asked()
        rule, least = route.threshold()
        place = route.place(0, RIGHT[rule]) if RIGHT[rule] >= least else None
        if place is not None:
            rates.append(place.rate)
            route.served(place)
            if place.checked:
                route.found([RIGHT], [right], place)
    return rates


def test_the_rule_that_tells_right_from_wrong_serves() -> None:
    """Of three rules, the one whose scores say something is chosen, at a score between the right and the wrong."""
    rule, least = taught(made(), 300).threshold()
    assert RULES[rule] == "verifier"
    assert WRONG[0] < least <= RIGHT[0]


@pytest.mark.parametrize("mode", ["auto", "shadow"])
def test_nothing_is_served_without_evidence(mode: Mode) -> None:
    """At first every request is asked of the provider."""
    assert made(mode).threshold()[1] > 1


def test_a_shadow_never_serves() -> None:
    """However much it has learned."""
    assert taught(made("shadow"), 500).threshold()[1] > 1


def test_serve_begins_at_once() -> None:
    """With what the verifier is sure of."""
    rule, least = made("serve").threshold()
    assert RULES[rule] == "verifier" and 0.8 < least < 1


def test_checks_become_rarer() -> None:
    """In "auto" most of what is served is checked first, and in the end the share that was asked for."""
    rates = used(taught(made(), 80), 1500)
    assert rates[:50].count(1.0) > 25
    assert set(rates[-500:]) == {0.2}


def test_what_is_always_checked_is_checked() -> None:
    """Also by a coin that never falls on that side."""
    route = taught(Route(Terms(max_error=0.05, mode="auto", rate=0.2, kind="sentence"), lambda: 1.0), 100)
    while (place := route.place(0, 0.9)) is not None and place.rate < 1.0:
        assert not place.checked
        route.served(place)
    assert place is not None and place.checked


def test_a_rate_of_zero_asks_for_nothing_again() -> None:
    """Then what is served is as little as may be wrong altogether."""
    route = taught(made(rate=0.0), 300)
    assert set(used(route, 1000)) == {0.0}
    assert route.account.served <= 0.05 * route.account.requests


@pytest.mark.parametrize("mode", ["auto", "serve"])
def test_serving_stops_when_all_turns_wrong(mode: Mode) -> None:
    """What was learned holds no longer: few are served, and then none."""
    route = taught(made(mode), 400)
    used(route, 400)
    served = len(used(route, 3000, right=False))
    assert served < 300


def test_a_lost_check_counts_as_wrong() -> None:
    """A provider that never answers proves nothing."""
    route = taught(made(), 100)
    place = route.place(0, 0.9)
    assert place is not None
    route.served(place)
    route.lost(place)
    assert (route.account.wrong, route.account.right, route.account.bound()) == (1, 0, 1)


def test_evidence_survives_a_restart() -> None:
    """A route that begins with what another had learned serves by the same rule and score."""
    before, after = taught(made(), 300), made()
    after.read(before.written())
    for _ in range(40):
        after.asked()
    assert after.threshold()[0] == before.threshold()[0]
    assert after.threshold()[1] == pytest.approx(before.threshold()[1], abs=0.01)
