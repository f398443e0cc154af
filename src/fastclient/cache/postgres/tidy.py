"""What nobody may have any more is deleted, and the oldest where there are too many: now and then, by one process."""

from __future__ import annotations

from time import monotonic

from fastclient.cache.postgres.driver import Connection
from fastclient.cache.postgres.schema import lock_of
from fastclient.cache.postgres.sql import Statements

__all__ = ["Tidy"]

_EVERY = 60.0  # seconds
_AT_ONCE = 500  # rows: others want to write too


class Tidy:
    """When it is time to tidy up, and how. A table may exceed `most` by what is added between two times."""

    def __init__(self, statements: Statements, most: int) -> None:
        self._statements = statements
        self._most = most
        self._often = max(16, min(1024, most // 16))  # rows added by this process
        self._added = 0
        self._due = monotonic()
        self.busy = False

    def added(self) -> bool:
        """A row was added. Whether it is time to tidy up; whoever is told so has to do it."""
        self._added += 1
        if self.busy or (self._added < self._often and monotonic() < self._due):
            return False
        self.busy = True
        return True

    def over(self) -> None:
        """It is done, for now."""
        self.busy, self._added, self._due = False, 0, monotonic() + _EVERY

    async def some(self, connection: Connection) -> tuple[int, bool]:
        """Delete some rows. Returns how many had not expired, and whether there are more to delete."""
        lock = lock_of(f"{self._statements.name} is tidied up")
        held = await connection.execute(f"SELECT pg_try_advisory_lock({lock})", once=True)
        if not held[0][0]:
            return 0, False
        try:
            return await self._some(connection)
        finally:
            if connection.is_open:
                await connection.execute(f"SELECT pg_advisory_unlock({lock})", once=True)

    async def _some(self, connection: Connection) -> tuple[int, bool]:
        statements = self._statements
        gone: int = await connection.execute(statements.expired, {"some": _AT_ONCE})
        if gone == _AT_ONCE:
            return 0, True
        rows = await connection.execute(statements.count, {})
        excess = int(rows[0][0]) - self._most
        if excess <= 0:
            return 0, False
        evicted: int = await connection.execute(statements.oldest, {"some": min(excess, _AT_ONCE)})
        return evicted, excess > evicted > 0
