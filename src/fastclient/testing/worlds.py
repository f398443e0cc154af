"""How long a pretend provider takes: latency worlds, pure and seeded.

A world says how long a request waits, how fast its prompt is read and how its tokens are spaced. The same random
generator gives the same times; nothing here sleeps or looks at a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

__all__ = ["Pace", "World"]


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of one answer, all in seconds.

    `queue` and `prefill` pass before the first token; `gaps` lie between the tokens (one fewer than tokens; empty
    means none at all).
    """

    queue: float = 0.0
    prefill: float = 0.0
    gaps: tuple[float, ...] = ()

    @property
    def first_token(self) -> float:
        """Seconds until the first token."""
        return self.queue + self.prefill

    @property
    def total(self) -> float:
        """Seconds until the last token."""
        return self.first_token + sum(self.gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A latency world: lognormal body, stragglers, prefill by prompt length, jittered token spacing.

    The time to the first token is `(base + prefill * uncached tokens) * luck`: luck is lognormal with median 1 and
    shape `sigma`, times the factor of a straggler class that `tail` draws as `(share, factor)` pairs. `gap` is the
    median time between tokens, with lognormal jitter of shape `gap_sigma`. `flush_headers` sends the status line and
    the first empty event before the wait, as many gateways do. `handshake` holds back the first answer on each new
    connection of a server: the round trips of TCP and TLS, which loopback does not have. `scale` multiplies every time.
    `base`, `gap` and `handshake` are seconds, `prefill` is seconds per uncached token.

    >>> from random import Random
    >>> World(base=0.2).sample(Random(1), 100, 0, 3)
    Pace(queue=0.2, prefill=0.0, gaps=())
    """

    base: float = 0.0
    sigma: float = 0.0
    tail: tuple[tuple[float, float], ...] = ()
    prefill: float = 0.0
    gap: float = 0.0
    gap_sigma: float = 0.0
    flush_headers: bool = False
    handshake: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("base", "sigma", "prefill", "gap", "gap_sigma", "handshake", "scale"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"World.{name} must be 0 or more, not {getattr(self, name)!r}")
        if any(share < 0.0 or factor < 0.0 for share, factor in self.tail) or sum(s for s, _ in self.tail) > 1.0:
            raise ValueError(f"World.tail: (share, factor) pairs with shares adding up to at most 1, not {self.tail!r}")

    @classmethod
    def instant(cls) -> World:
        """No waiting at all: what is left is the cost of the client and of the loopback socket."""
        return cls()

    @classmethod
    def production(cls, scale: float = 1.0) -> World:
        """A busy hosted model 40 ms away: median first token near 0.45 s, p99 about ten times that, 80 tokens/s.

        `scale=0.01` keeps the shape and makes it a hundred times faster.
        """
        tail = ((0.02, 9.0), (0.002, 40.0))
        return cls(
            base=0.45,
            sigma=0.5,
            tail=tail,
            prefill=1 / 9000,
            gap=0.0125,
            gap_sigma=0.35,
            handshake=0.1,
            scale=scale,
        )

    @classmethod
    def stragglers(cls, share: float, factor: float, base: float = 0.05, sigma: float = 0.35) -> World:
        """First tokens around `base` seconds, of which a `share` takes `factor` times as long; tokens then at once."""
        return cls(base=base, sigma=sigma, tail=((share, factor),))

    @property
    def is_random(self) -> bool:
        """Whether two requests of the same size may take different times."""
        return bool(self.sigma or self.tail or self.gap_sigma)

    def sample(self, rng: Random, input_tokens: int, cached_tokens: int, output_tokens: int) -> Pace:
        """Draw the times of one answer from `rng`, in seconds."""
        luck = self._luck(rng) * self.scale
        prefill = self.prefill * max(0, input_tokens - cached_tokens)
        return Pace(self.base * luck, prefill * luck, self._gaps(rng, output_tokens - 1))

    def _luck(self, rng: Random) -> float:
        if not self.sigma and not self.tail:
            return 1.0
        luck = rng.lognormvariate(0.0, self.sigma)
        draw = rng.random()
        for share, factor in self.tail:
            if draw < share:
                return luck * factor
            draw -= share
        return luck

    def _gaps(self, rng: Random, count: int) -> tuple[float, ...]:
        gap = self.gap * self.scale
        if not gap or count < 1:
            return ()
        if not self.gap_sigma:
            return (gap,) * count
        return tuple(gap * rng.lognormvariate(0.0, self.gap_sigma) for _ in range(count))
