"""How a semantic cache does, in numbers: what it served, and how much of that was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastclient.cache.semantic.route import RULES, Route

__all__ = ["SemanticStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticStats:
    """Of the `requests` that might have been answered by another's answer, so many were `served`, since the start.

    Of these `checked` were compared with the provider's own answer, and `right` or `wrong`. `wrong_of_served` is the
    estimated share of wrong answers among those served (None before the first check), `wrong_of_requests` that among
    all requests, and `at_most` the share of requests that is proved not to be exceeded, with 95 % confidence for each
    route. `routes` have been asked, `serving` of them have found a rule (in "shadow" one they would serve by); `rules`
    says how many which. `labels` are comparisons made to learn, `kept` questions whose answers may be served from now
    on, and in `failures` lookups and lessons something went wrong.
    """

    requests: int = 0
    served: int = 0
    checked: int = 0
    right: int = 0
    wrong: int = 0
    wrong_of_served: float | None = None
    wrong_of_requests: float = 0.0
    at_most: float = 0.0
    routes: int = 0
    serving: int = 0
    rules: tuple[tuple[str, int], ...] = ()
    labels: int = 0
    kept: int = 0
    failures: int = 0

    @classmethod
    def of(cls, routes: Sequence[Route], kept: int, failures: int) -> SemanticStats:
        """The sum over routes."""
        accounts = [route.account for route in routes]
        requests, served = sum(each.requests for each in accounts), sum(each.served for each in accounts)
        right, wrong = sum(each.right for each in accounts), sum(each.wrong for each in accounts)
        rules = [RULES[rule] for route in routes if (rule := route.rule) is not None]
        estimated = sum(each.estimate() for each in accounts)  # checks are not equally frequent all the time
        share = min(1.0, estimated / served) if right + wrong and served else None
        return cls(
            requests=requests,
            served=served,
            checked=right + wrong,
            right=right,
            wrong=wrong,
            wrong_of_served=share,
            wrong_of_requests=(share or 0.0) * served / requests if requests else 0.0,
            at_most=sum(each.bound() for each in accounts) / requests if requests else 0.0,
            routes=len(routes),
            serving=len(rules),
            rules=tuple((name, rules.count(name)) for name in RULES if name in rules),
            labels=sum(route.labels for route in routes),
            kept=kept,
            failures=failures,
        )
