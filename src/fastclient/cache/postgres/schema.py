"""The table: whether it is there and what it should be, and made if it is not. Any number of processes may do so."""

from __future__ import annotations

from hashlib import blake2b

from fastclient.cache.postgres.driver import Connection, Refused
from fastclient.cache.postgres.sql import Statements

__all__ = ["Unfit", "lock_of", "ready"]

_ABSENT = ("0A000", "42501", "58P01")  # codes with which a server refuses to make an extension, or has none to make


class Unfit(Exception):
    """The server is well, but the table cannot be had. The text says what somebody has to do about it."""


async def ready(connection: Connection, statements: Statements) -> None:
    """See that the table is there, make it if not, and that it may be read. Raises Unfit, Lost or Refused."""
    if not await _there(connection, statements):
        await _made(connection, statements)
        if not await _there(connection, statements):
            raise Unfit(f"the table {statements.name} is not to be found where it was made")
    await connection.execute(statements.probe, once=True)


async def _there(connection: Connection, statements: Statements) -> bool:
    """Whether there is a table. Raises Unfit if it is another than it should be."""
    rows = await connection.execute(statements.seen, once=True)
    found = {name: kind.rpartition(".")[2] for name, kind in rows}
    if rows and found != statements.columns:
        raise Unfit(f"the table {statements.name} has other columns than ours: another `table` is needed, or none")
    return bool(rows)


async def _made(connection: Connection, statements: Statements) -> None:
    """One process makes it, the others wait: what the server itself does to prevent two is to fail one."""
    await connection.execute("BEGIN", once=True)
    try:
        await connection.execute("SET LOCAL synchronous_commit = on", once=True)  # a row may be lost, no table
        await connection.execute(f"SELECT pg_advisory_xact_lock({lock_of(statements.table)})", once=True)
        await _extended(connection)
        for statement in statements.make:
            await connection.execute(statement, once=True)
        await connection.execute("COMMIT", once=True)
    except (Refused, Unfit):
        await connection.execute("ROLLBACK", once=True)
        raise


async def _extended(connection: Connection) -> None:
    if await _halves(connection):
        return
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector", once=True)
    except Refused as refused:
        if refused.code not in _ABSENT:
            raise
        raise Unfit("has no pgvector and refuses to make it: somebody must run CREATE EXTENSION vector there") from None
    if not await _halves(connection):
        raise Unfit("has a pgvector before 0.7, or one that is not in the search path")


async def _halves(connection: Connection) -> bool:
    """Whether there are vectors of 16 bits."""
    found = await connection.execute("SELECT to_regtype('halfvec') IS NOT NULL", once=True)
    return bool(found[0][0])


def lock_of(table: str) -> int:
    """The number of the lock for who makes or tidies tables of this name."""
    return int.from_bytes(blake2b(table.encode(), digest_size=8, person=b"fastclient lock").digest(), signed=True)
