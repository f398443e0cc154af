"""What is said to the server, in its own language. Pure.

Partitions are many and mostly small, and one graph holds the vectors of all. Asked for the nearest of a small partition
a graph finds next to nothing, because almost all that it meets belongs to others. So a partition of up to `_EXACT` rows
is looked at row by row, by its own index; a larger one is searched in the graph, which goes on until it has found
enough. Which of the two indexes is used is not left to the planner, which knows tables and not partitions: sums that
change nothing keep the other one out.
"""

# ruff: noqa: S608  # what is put together here are the names of tables, which were checked; values go by themselves

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SESSION", "Statements"]

_EXACT = 5_000  # rows, which take some 5 ms, and on a busy machine several times that
_GRAPH_MOST = 4000  # numbers of a vector; the server has no graphs for longer ones
_PLAIN_MOST = (
    3000  # the same, that have room beside the rest of a row: elsewhere, reading them takes several times longer
)
_ROW = "mark, key, partition, tag, question, vector, labels, stored, expires"

SESSION = (
    "SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = 100; SET enable_seqscan = off; SET jit = off; "
    "SET plan_cache_mode = force_generic_plan; SET synchronous_commit = off; SET statement_timeout = '{limit}s'; "
    "SET idle_in_transaction_session_timeout = '{limit}s'; SET client_min_messages = error"
)
"""Of each connection. What was written in the last moment may be gone after a crash of the server: it is a cache."""

COLUMNS = {
    "key": "bytea",
    "partition": "bytea",
    "tag": "bytea",
    "question": "text",
    "vector": "halfvec({dim})",
    "labels": "text[]",
    "stored": "double precision",
    "expires": "double precision",
    "mark": "bytea",
    "answer": "bytea",
}


@dataclass(frozen=True, slots=True)
class Statements:
    """Everything that is said about the table for vectors of one length."""

    table: str
    dim: int

    @property
    def name(self) -> str:
        """The table's own name."""
        return f"{self.table}_{self.dim}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns and their types."""
        return {name: kind.format(dim=self.dim) for name, kind in COLUMNS.items()}

    @property
    def make(self) -> tuple[str, ...]:
        """What makes the table, one statement after the other."""
        name = self.name
        columns = ", ".join(f"{column} {kind} NOT NULL" for column, kind in self.columns.items())
        statements = [
            f"CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY (key))",
            f"ALTER TABLE {name} ALTER answer SET STORAGE EXTERNAL",  # is small already
            f"CREATE INDEX IF NOT EXISTS {name}_partition ON {name} (partition)",
            f"CREATE INDEX IF NOT EXISTS {name}_stored ON {name} (stored)",
            f"CREATE INDEX IF NOT EXISTS {name}_expires ON {name} (expires)",
        ]
        if self.dim <= _PLAIN_MOST:
            statements.append(f"ALTER TABLE {name} ALTER vector SET STORAGE PLAIN")
        if self.dim <= _GRAPH_MOST:
            graph = "USING hnsw (vector halfvec_ip_ops) WITH (m = 16, ef_construction = 64)"
            statements.append(f"CREATE INDEX IF NOT EXISTS {name}_vector ON {name} {graph}")
        return tuple(statements)

    @property
    def seen(self) -> str:
        """The table's columns and their types; no rows if there is no table."""
        return (
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = to_regclass('{self.name}') AND attnum > 0 AND NOT attisdropped"
        )

    @property
    def probe(self) -> str:
        """Fails if the table may not be read."""
        return f"SELECT {_ROW}, answer FROM {self.name} LIMIT 0"

    @property
    def nearest(self) -> str:
        """The nearest of a partition."""
        near = f"SELECT {_ROW} FROM {self.name} WHERE {{few}} (SELECT yes FROM few) AND partition {{own}}"
        alive = "AND expires + 0 > %(now)s"
        exact = near.format(few="", own="= %(partition)s")
        graph = near.format(few="NOT", own="|| ''::bytea = %(partition)s")
        return (
            f"WITH few AS MATERIALIZED (SELECT count(*) <= {_EXACT} AS yes FROM "
            f"(SELECT 1 FROM {self.name} WHERE partition = %(partition)s LIMIT {_EXACT + 1}) own) "
            f"({exact} {alive} ORDER BY (vector <#> %(vector)s) + 0 LIMIT %(most)s) UNION ALL "
            f"({graph} {alive} ORDER BY vector <#> %(vector)s LIMIT %(most)s)"
        )

    @property
    def answer(self) -> str:
        """The row under a key, with its answer."""
        return f"SELECT {_ROW}, answer FROM {self.name} WHERE key = %(key)s"

    @property
    def add(self) -> str:
        """Keep a row, in place of what its key had."""
        columns = list(COLUMNS)
        values = ", ".join(f"%({column})s" for column in columns)
        new = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        return f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT (key) DO UPDATE SET {new}"

    @property
    def remove(self) -> str:
        """Forget a row; with a mark only if it still has that."""
        return f"DELETE FROM {self.name} WHERE key = %(key)s AND (%(mark)s::bytea IS NULL OR mark = %(mark)s::bytea)"

    def some(self, which: str, order: str) -> str:
        """Forget at most so many rows, without waiting for whoever is at one of them."""
        rows = f"SELECT key FROM {self.name} WHERE {which} ORDER BY {order} LIMIT %(some)s FOR UPDATE SKIP LOCKED"
        return f"DELETE FROM {self.name} WHERE key = ANY (ARRAY({rows}))"

    @property
    def forget(self) -> str:
        """Forget some of what was stored before a moment, has the tag, and any of the labels."""
        tagged = "(%(tag)s::bytea IS NULL OR tag = %(tag)s::bytea)"
        labelled = "(cardinality(%(labels)s::text[]) = 0 OR labels && %(labels)s::text[])"
        return self.some(f"stored < %(before)s AND {tagged} AND {labelled}", "stored")

    @property
    def expired(self) -> str:
        """Delete some of what nobody may have any more, by the server's clock."""
        return self.some("expires < extract(epoch FROM now())", "expires")

    @property
    def oldest(self) -> str:
        """Delete some of the oldest."""
        return self.some("true", "stored")

    @property
    def count(self) -> str:
        """How many rows there are."""
        return f"SELECT count(*) FROM {self.name}"
