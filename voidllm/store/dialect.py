"""The few places where the two databases want different SQL."""

from __future__ import annotations

from functools import lru_cache
from typing import Sequence

from attrs import frozen

from voidllm.store.statements import Query

#: NOTIFY channel; the payload is the change version.
CHANNEL = "voidllm_changed"

#: Any number that nothing else in the database uses for an advisory lock.
_LOCK = 0x766F_6964_6C6C_6D

_POSTGRES_TYPES = {"text": "text", "int": "bigint"}


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

    def recordset(self, columns: Sequence[tuple[str, str]]) -> str:
        """Give a SELECT of ``columns`` whose one parameter is a JSON array of objects.

        :param columns: (name, ``text`` or ``int``) pairs.
        """
        if self.name == "postgres":
            names = ", ".join(name for name, _ in columns)
            types = ", ".join(f"{name} {_POSTGRES_TYPES[type_]}" for name, type_ in columns)
            return f"SELECT {names} FROM jsonb_to_recordset(?::jsonb) AS r({types})"  # noqa: S608
        names = ", ".join(f"json_extract(value, '$.{name}')" for name, _ in columns)
        # The WHERE keeps SQLite from reading a following ON CONFLICT as a join's ON.
        return f"SELECT {names} FROM json_each(?) WHERE true"  # noqa: S608

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
