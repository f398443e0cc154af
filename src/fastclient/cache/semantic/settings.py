"""What a user says about the semantic cache, and why a pair of questions is or is not one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastclient.checks import is_number, one_of, share, whole
from fastclient.errors import ConfigError

if TYPE_CHECKING:
    from fastclient.cache.embedders.calls import Function
    from fastclient.cache.embedders.port import Embedder
    from fastclient.cache.semantic.lessons import Agree
    from fastclient.cache.semantic.port import Questions
    from fastclient.cache.semantic.route import Mode

__all__ = ["Explanation", "Semantic"]

_PLACE = ("bind", "nearest", "answer", "add", "remove", "forget", "aclose")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the answer to one question may or may not be served for another. The reasons quote both."""

    cosine: float
    probability: float
    """That it would be right, going by the verifier; 0 if there is a veto."""
    vetoes: tuple[str, ...]
    reasons: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        verdict = f"forbidden by {', '.join(self.vetoes)}" if self.vetoes else f"probability {self.probability:.2f}"
        return "\n  ".join((f"cosine {self.cosine:.2f}, {verdict}", *self.reasons))


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantic:
    """Questions are answered by what was said to the same question in other words. Needs `cache`, and can be wrong.

    Only the last user turn may be worded differently; everything else in the request has to be the same. Requests with
    tools or media, about the one who asks, or about the moment are left alone. At most `max_error` of a route's
    requests (same target, instructions, parameters and namespace) get a wrong answer: with "auto", nothing is served
    before evidence shows what may be, and no more than a bound with 95 % confidence allows. "shadow" serves nothing and
    learns; "serve" begins at once with what the verifier is sure of, and goes by the estimate instead of the bound.

    Evidence are the provider's own answers, compared by `agree(one, other)`, a function or coroutine function; without
    it by words and figures (`fastclient.cache.semantic.agree`), which takes answers that differ much in wording for
    different. Of the answers served, `rate` are asked for again in the background and compared; with "auto" all are at
    first, and fewer as the bound allows.

    `embedder` is one of `fc.embedders` or a function (None: `Lexical()`). `index` is where questions are kept: a
    `PostgresIndex`, or None for this machine, in memory and with a `DiskStore` in its folder too; then the newest
    `most` are. With `audit`, a file, what was served for what is written there, in plain text: see `fastclient cache
    audit`.
    """

    embedder: Embedder | Function | None = None
    max_error: float = 0.01
    mode: Mode = "auto"
    index: Questions | None = None
    rate: float = 0.2
    agree: Agree | None = field(default=None, repr=False)
    audit: str | os.PathLike[str] | None = None
    most: int = 100_000

    def __post_init__(self) -> None:
        from fastclient.cache.embedders import Lexical, as_embedder

        embedder = Lexical() if self.embedder is None else as_embedder(self.embedder)
        object.__setattr__(self, "embedder", embedder)
        if not (is_number(self.max_error) and 0 < self.max_error < 1):
            raise ConfigError.of("semantic.max_error", self.max_error, "must be a share between 0 and 1")
        one_of("semantic.mode", self.mode, ("auto", "shadow", "serve"))
        if self.index is not None and not all(callable(getattr(self.index, name, None)) for name in _PLACE):
            raise ConfigError.of("semantic.index", self.index, "must be a PostgresIndex, or None")
        share("semantic.rate", self.rate)
        if self.agree is not None and not callable(self.agree):
            raise ConfigError.of("semantic.agree", self.agree, "must be a function of two answers")
        if self.audit is not None and not isinstance(self.audit, (str, os.PathLike)):
            raise ConfigError.of("semantic.audit", self.audit, "must be the path of a file")
        whole("semantic.most", self.most)

    def explain(self, asked: str, stored: str) -> Explanation:
        """Why the answer stored for one question may or may not be served for another one. Blocks to embed both."""
        from fastclient.cache.embedders import as_embedder
        from fastclient.cache.guards import analyse, verify
        from fastclient.cache.semantic.judge import kind_of

        embedder = as_embedder(self.embedder)  # type: ignore[arg-type]  # it is one since it was checked
        one, other = embedder.embed([asked, stored])
        cosine = float(one @ other)
        verdict = verify(analyse(asked), analyse(stored), cosine, kind=kind_of(embedder))
        reasons: Sequence[str] = verdict.explain()
        return Explanation(cosine, verdict.probability, verdict.vetoes, tuple(reasons))
