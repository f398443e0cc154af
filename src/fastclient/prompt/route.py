"""Which machine of a provider has seen this prompt's beginning: a key that is the same for requests that share one."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import ceil

from fastclient.prompt.piece import Prepared
from fastclient.prompt.rules import Rules

__all__ = ["Routes"]

_MINUTE = 60.0
_PER_KEY = 15  # requests a minute with one key; more of them spill over to machines that know nothing
_FAMILIES = 1000


class Routes:
    """Chooses keys for requests.

    Those with a long static part in common share one key, or as many as their rate needs: then each conversation stays
    with one of them. Others have a key for each conversation. Keys tell nothing of the prompt, are the same in every
    process, and never shared between namespaces.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.any = rules.header is not None or rules.key is not None  # whether the provider knows any
        self._rates: dict[int, _Rate] = {}

    def route(self, prepared: Prepared, static: float, now: float) -> tuple[Mapping[str, object], Mapping[str, str]]:
        """What to add to the parameters and to the headers. `static` is the tokens of the static part."""
        rules, request = self._rules, prepared.request
        if rules.header is not None:
            return {}, {rules.header: _key(request.namespace, prepared.head)}
        if rules.key is None or rules.key in request.params:
            return {}, {}
        if static < rules.minimum:
            return {rules.key: _key(request.namespace, prepared.head)}, {}
        family = prepared.chain[prepared.static]
        shard = prepared.head % self._shards(family, now)
        return {rules.key: f"{_key(request.namespace, family)}-{shard}"}, {}

    def _shards(self, family: int, now: float) -> int:
        rate = self._rates.get(family)
        if rate is None:
            if len(self._rates) >= _FAMILIES:
                self._rates.clear()
            rate = self._rates[family] = _Rate(now)
        needed = ceil(rate.add(now) / _PER_KEY)
        return 1 << (needed - 1).bit_length()  # of twice as many, half stay where they are


class _Rate:
    """Requests of the last full minute."""

    __slots__ = ("_before", "_count", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._count = 0
        self._before = 1

    def add(self, now: float) -> int:
        """One more; returns how many there were in the minute before this one, at least 1."""
        passed = now - self._since
        if not 0 <= passed < _MINUTE:
            self._before = max(1, self._count if passed < 2 * _MINUTE else 1)
            self._since, self._count = now, 0
        self._count += 1
        return self._before


def _key(namespace: str | None, own: int) -> str:
    said = f"{namespace or ''}\n{own & (2**64 - 1):x}".encode("utf-8", "surrogatepass")
    return "fc-" + blake2b(said, digest_size=12, person=b"fc prompt key").hexdigest()
