"""Numbered SQL files, applied once each and never changed afterwards."""

from __future__ import annotations

import hashlib
from importlib import resources

from attrs import frozen

from voidllm.core.errors import StateError
from voidllm.store.dialect import Dialect
from voidllm.store.statements import Op, Query, q

_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at_ms bigint NOT NULL)"""


@frozen
class Migration:
    """One file: its name, the SHA-256 of its text in hex, and its statements."""

    name: str
    checksum: str
    statements: tuple[str, ...]


def parse(name: str, text: str) -> Migration:
    """Split ``text`` into statements, each of which ends with a semicolon at the end of a line."""
    pieces = (piece.strip() for piece in (text + "\n").split(";\n"))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(name, checksum, tuple(piece for piece in pieces if piece))


def migrations(dialect: Dialect) -> list[Migration]:
    """Read the files that this program brings for ``dialect``, in order."""
    folder = resources.files("voidllm.store") / "migrations" / dialect.name
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [parse(f.name, f.read_text(encoding="utf-8")) for f in files]


def migrate(known: list[Migration], now_ms: int) -> Op[list[str]]:
    """Apply what is missing; runs alone, see :attr:`Dialect.begin_migration`.

    :returns: the names of the files that were applied.
    :raises StateError: if an applied file was changed since, or if the database holds one that
        this program does not know because a newer one made it.
    """
    yield Query(_TABLE)
    rows = yield Query("SELECT name, checksum FROM schema_migrations")
    applied: dict[str, str] = dict(rows)
    newer = sorted(applied.keys() - {migration.name for migration in known})
    if newer:
        raise StateError(f"the database was made by a newer program: migration {newer[-1]} is unknown here")
    done = []
    for migration in known:
        if migration.name in applied:
            if applied[migration.name] != migration.checksum:
                raise StateError(f"migration {migration.name} differs from the one that made this database")
            continue
        for statement in migration.statements:
            yield Query(statement)
        yield q(
            "INSERT INTO schema_migrations (name, checksum, applied_at_ms) VALUES (?, ?, ?)",
            migration.name,
            migration.checksum,
            now_ms,
        )
        done.append(migration.name)
    return done
