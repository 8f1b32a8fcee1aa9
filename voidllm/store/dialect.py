"""The few places where the two databases want different SQL."""

from __future__ import annotations

from functools import lru_cache

from attrs import frozen

from voidllm.store.statements import Query

#: NOTIFY channel; the payload is the change version.
CHANNEL = "voidllm_changed"

#: Any number that nothing else in the database uses for an advisory lock.
_LOCK = 0x766F_6964_6C6C_6D


@frozen
class Dialect:
    """How to say it to one database.

    :ivar name: ``sqlite`` or ``postgres``; also the folder of its migrations.
    :ivar begin_read: starts a transaction that sees one state of the database throughout.
    :ivar begin_migration: starts one that no other migration runs beside.
    """

    name: str
    begin_read: str
    begin_write: str
    begin_migration: tuple[str, ...]

    def announce(self, version: int) -> Query | None:
        """Give the statement that tells other boxes of ``version`` when the transaction commits."""
        if self.name == "postgres":
            return Query("SELECT pg_notify(?, ?)", (CHANNEL, str(version)))
        return None


SQLITE = Dialect("sqlite", "BEGIN", "BEGIN IMMEDIATE", ("BEGIN EXCLUSIVE",))
POSTGRES = Dialect(
    "postgres",
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    # Takes the lock in its own statement, so that the next one sees what a predecessor committed.
    ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", f"SELECT pg_advisory_xact_lock({_LOCK})"),
)


@lru_cache(maxsize=512)
def to_pyformat(sql: str) -> str:
    """Turn ``?`` marks into psycopg2's; our statements hold neither sign in a literal."""
    return sql.replace("%", "%%").replace("?", "%s")
