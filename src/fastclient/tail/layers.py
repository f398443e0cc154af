"""Which of the layers of this folder a policy asks for, and in which order they stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastclient.config import Policy
from fastclient.engine.stack import Layer
from fastclient.tail.deadline import deadline
from fastclient.tail.fallback import routed
from fastclient.tail.learn import learned
from fastclient.tail.permit import limited
from fastclient.tail.race import hedged
from fastclient.tail.retry import retried
from fastclient.tail.upstream import Upstreams
from fastclient.target import Target, as_target

__all__ = ["layers"]


def layers(
    policy: Policy, upstreams: Upstreams, ready: Callable[[Target], Target], sharing: Sequence[Layer] = ()
) -> tuple[Layer, ...]:
    """Outermost first; what was not asked for is not there.

    `ready` fills in what a target leaves to its provider; `sharing` are the layers for answers that several calls get.
    """
    chosen: list[Layer] = [deadline, *sharing]
    if policy.route is not None:
        targets = [ready(as_target(target)) for target in policy.route.fallback]
        chosen.append(routed(policy.route, targets, upstreams, policy.retry))
    if policy.retry is not None:
        chosen.append(retried(policy.retry, upstreams))
    if policy.hedge is not None:
        targets = [ready(as_target(target)) for target in policy.hedge.targets]
        chosen.append(hedged(policy.hedge, targets, upstreams))
    if policy.limits is not None:
        chosen.append(limited(upstreams, policy.timeouts))
    if policy.hedge is not None or policy.route is not None or policy.limits is not None:  # these ask what was learned
        # Giving an attempt up early is worth it only where something better can be done with the time.
        chosen.append(learned(upstreams, policy.timeouts, strict=bool(policy.hedge or policy.route)))
    return tuple(chosen)
