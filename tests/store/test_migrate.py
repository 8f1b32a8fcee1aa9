"""Migrations: in order, once, unchanged, and by one process at a time."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import OnPostgres, OnSQLite
from voidllm.core.errors import StateError
from voidllm.store import postgres, sqlite
from voidllm.store.dialect import POSTGRES, SQLITE
from voidllm.store.migrate import migrations, parse


class ParseTests(SynchronousTestCase):
    """The files themselves."""

    def test_statements_end_at_line_ends(self) -> None:
        """A semicolon ends a statement only at the end of a line."""
        parsed = parse("1.sql", "A 'x;y' B;\n-- c\nC\n  D;")
        self.assertEqual(parsed.statements, ("A 'x;y' B", "-- c\nC\n  D"))

    def test_checksum_covers_every_byte(self) -> None:
        """Any change of a file changes its checksum."""
        self.assertNotEqual(parse("1.sql", "A;\n").checksum, parse("1.sql", "A ;\n").checksum)

    def test_both_dialects_have_the_same_steps(self) -> None:
        """Each migration exists for both databases, numbered without a gap."""
        names = [[m.name for m in migrations(dialect)] for dialect in (SQLITE, POSTGRES)]
        self.assertEqual(*names)
        self.assertEqual([int(name[:4]) for name in names[0]], list(range(1, len(names[0]) + 1)))

    def test_no_mark_is_mistaken_for_a_parameter(self) -> None:
        """No file holds a sign that a driver could take for a parameter."""
        for dialect in (SQLITE, POSTGRES):
            for migration in migrations(dialect):
                for statement in migration.statements:
                    self.assertNotIn("?", statement)
                    self.assertNotIn("%", statement)


class MigrateSuite:
    """Behaviour that both stores share."""

    store: Any
    module: Any
    assertRaisesRegex: Any
    assertEqual: Any
    patch: Any
    make_store: Any

    def change(self, edit: Any) -> None:
        """Have the program bring other files than it does."""
        known = migrations(self.store._dialect)
        self.patch(self.module, "migrations", lambda dialect: edit(known))

    async def test_changed_file(self) -> None:
        """A migration that was changed after it was applied is an error that names it."""
        await self.store.stop()
        self.change(lambda known: [evolve(known[0], checksum="0" * 64), *known[1:]])
        with self.assertRaisesRegex(StateError, "0001_base.sql"):
            await self.store.start()

    async def test_newer_database(self) -> None:
        """A database that a newer program has migrated is not touched by an older one."""
        await self.store.stop()
        self.change(lambda known: known[:-1])
        with self.assertRaisesRegex(StateError, "newer"):
            await self.store.start()

    async def test_one_more(self) -> None:
        """A new migration is applied once, at the next start."""
        await self.store.stop()
        extra = parse("9999_extra.sql", "CREATE TABLE extra (id bigint);\nINSERT INTO extra VALUES (1);\n")
        self.change(lambda known: [*known, extra])
        await self.store.start()
        await self.store.stop()
        # Applied again, it would fail: the table is there.
        await self.store.start()

    async def test_failing_migration_leaves_nothing(self) -> None:
        """A migration that fails half-way is undone and is tried again at the next start."""
        await self.store.stop()
        broken = parse("9999_extra.sql", "CREATE TABLE extra (id bigint);\nNONSENSE;\n")
        whole = parse("9999_extra.sql", "CREATE TABLE extra (id bigint);\n")
        known = migrations(self.store._dialect)
        self.patch(self.module, "migrations", lambda dialect: [*known, broken])
        with self.assertRaisesRegex(Exception, "SQL"):
            await self.store.start()
        self.patch(self.module, "migrations", lambda dialect: [*known, whole])
        await self.store.start()


class SQLiteMigrateTests(MigrateSuite, OnSQLite):
    """On SQLite."""

    module = sqlite


class PostgresMigrateTests(MigrateSuite, OnPostgres):
    """On PostgreSQL."""

    module = postgres

    async def test_boxes_start_together(self) -> None:
        """Several boxes that start at the same time on a new database all come up."""
        del self.dsn
        stores = [self.make_store(connections=1) for _ in range(4)]
        await gatherResults([store.start() for store in stores], consumeErrors=True)
        await gatherResults([store.is_empty() for store in stores])
        await gatherResults([store.stop() for store in stores])
