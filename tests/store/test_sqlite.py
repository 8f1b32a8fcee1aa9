"""What only the SQLite store has: a file, a lock, threads and their queue."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import NOW, OnSQLite, StallProbe, event, seed, world
from voidllm.core.errors import StateError, StoreBusy, StoreRejected, StoreUnavailable
from voidllm.store import open_store
from voidllm.store.records import UsageQuery
from voidllm.store.sqlite import MEMORY, SQLiteStore
from voidllm.store.statements import Op, q

REPOSITORY = Path(__file__).resolve().parents[2]


def _write(sql: str, *params: Any) -> Any:
    def operation() -> Op[None]:
        yield q(sql, *params)

    return operation


class SQLiteTests(OnSQLite):
    """The store in a file, with its threads."""

    async def test_files_are_private(self) -> None:
        """Nobody else may read the database, its log or its lock."""
        await self.store.bootstrap(seed(), NOW)
        for suffix in ("", "-wal", "-shm", ".lock"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path + suffix).st_mode), 0o600, suffix)

    async def test_an_open_file_becomes_private(self) -> None:
        """A file that others could read is closed to them at start."""
        await self.store.stop()
        os.chmod(self.path, 0o644)
        await self.store.start()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    async def test_one_owner(self) -> None:
        """A second store on the same file, in this or in another process, is told that it is in use."""
        second = self.make_store()
        with self.assertRaisesRegex(StateError, "in use"):
            await second.start()
        code = (
            "import fcntl, sys\n"
            "try: fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "except OSError: sys.exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", code, self.path + ".lock"], check=False)
        self.assertEqual(done.returncode, 7)
        await self.store.stop()
        await second.start()
        await second.stop()

    async def test_no_threads_or_descriptors_remain(self) -> None:
        """A stopped store leaves no thread and no open file."""
        for _ in range(3):
            await self.store.stop()
            await self.store.start()
            await self.store.is_empty()
        await self.store.stop()
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")]
        self.assertEqual(names, [])
        targets = []
        for number in os.listdir("/proc/self/fd"):
            try:
                targets.append(os.readlink(f"/proc/self/fd/{number}"))
            except FileNotFoundError:
                pass
        self.assertEqual([target for target in targets if target.startswith(self.path)], [])
        self.assertFalse(os.path.exists(self.path + "-wal"), "the log was not folded in")

    async def test_the_queue_is_bounded(self) -> None:
        """More waiting operations than the queue may hold are refused at once; the rest is done."""
        await self.store.stop()
        store = self.make_store(depth=3)
        await store.start()
        self.addCleanup(store.stop)
        gate = threading.Event()
        held: Deferred[None] = store._writer.run(lambda connection: gate.wait(20) and None)
        work = [store.meta_set("name", str(n)) for n in range(20)]
        outcomes = [one.addErrback(lambda failure: failure.type) for one in work]
        gate.set()
        await held
        results = [await outcome for outcome in outcomes]
        self.assertIn(StoreBusy, results)
        self.assertLessEqual(results.count(None), 4)
        done = [n for n, result in enumerate(results) if result is None]
        self.assertEqual(await store.meta_get("name"), str(done[-1]))

    async def test_stop_finishes_what_is_queued(self) -> None:
        """Operations queued before the stop are done, later ones are refused."""
        work = self.store.meta_set("name", "value")
        stopped = self.store.stop()
        late = self.store.meta_set("late", "value")
        await self.assertFailure(late, StoreUnavailable)
        await work
        await stopped
        await self.store.start()
        self.assertEqual(await self.store.meta_get("name"), "value")

    async def test_reading_connections_cannot_write(self) -> None:
        """A write that is passed off as a read is refused."""
        with self.assertRaises(Exception) as caught:
            await self.store._run(_write("DELETE FROM meta"), write=False, repeatable=True)
        self.assertIsInstance(caught.exception, (StoreRejected, StoreUnavailable))

    async def test_reads_go_on_beside_a_write(self) -> None:
        """A long transaction does not keep readers waiting, who see the state before it."""
        gate, inside = threading.Event(), threading.Event()

        def operation() -> Op[None]:
            yield q("INSERT INTO meta (name, value) VALUES (?, ?)", "x", "y")
            inside.set()
            gate.wait(20)

        writing = self.store._write(operation)
        await self.store._reader.run(lambda connection: inside.wait(20))
        self.assertIsNone(await self.store.meta_get("x"))
        gate.set()
        await writing
        self.assertEqual(await self.store.meta_get("x"), "y")

    async def test_not_a_database(self) -> None:
        """A file that is something else is named as such and left alone."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"not a database, " * 1000)
        with self.assertRaisesRegex(StateError, "SQLite"):
            await open_store(world(), "sqlite", path).start()
        with open(path, "rb") as file:
            self.assertEqual(len(file.read()), 16_000)

    async def test_no_such_folder(self) -> None:
        """A path that cannot be made is a StateError, not a traceback of the driver."""
        with self.assertRaises(StateError):
            await open_store(world(), "sqlite", self.path + "/below").start()

    async def test_bulk_inserts_leave_the_reactor_free(self) -> None:
        """The reactor goes on while thousands of rows are committed."""
        events = [event() for _ in range(5000)]
        probe = StallProbe().start()
        await self.store.commit_usage("s", 1, events)
        self.assertLess(probe.stop(), 0.2)

    async def test_make_durable(self) -> None:
        """What was committed is synced in the log; with the stronger setting it is already."""
        synced: list[str] = []
        fsync = os.fsync

        def note(fd: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)

        self.patch(os, "fsync", note)
        committed = self.store.commit_usage("s", 1, [event()])
        await self.store.make_durable()
        self.successResultOf(committed)
        self.assertEqual(synced, [os.path.realpath(self.path) + "-wal"])
        await self.store.stop()
        await self.assertFailure(self.store.make_durable(), StoreUnavailable)
        full = self.make_store(synchronous="full")
        await full.start()
        await full.make_durable()
        await full.stop()
        self.assertEqual(len(synced), 1)

    async def test_synchronous_full(self) -> None:
        """The stronger setting reaches the connection."""
        await self.store.stop()
        for name, number in (("normal", 1), ("full", 2)):
            store = self.make_store(synchronous=name)
            await store.start()
            asked = store._writer.run(lambda connection: connection.execute("PRAGMA synchronous").fetchall())
            self.assertEqual(await asked, [(number,)])
            await store.stop()


_CHILD = """
import sys
from twisted.internet.task import Clock
from tests.store.support import event, world
from voidllm.store.sqlite import SQLiteStore
store = SQLiteStore(world(reactor=Clock()), sys.argv[1])
store.start().addErrback(lambda failure: sys.exit(failure.value))
done = dict(store.journal_progress().result).get("s", 0)
while True:
    done += 1
    work = store.commit_usage("s", done, [event() for _ in range(7)])
    work.addErrback(lambda failure: sys.exit(failure.value))
    print(done, flush=True)
"""


class KillTests(OnSQLite):
    """The process dies at any moment."""

    async def test_kill_between_and_within_commits(self) -> None:
        """After ``kill -9`` rows, sums and progress agree, and nothing that was acknowledged is missing."""
        await self.store.stop()
        for lines in (1, 20, 60):
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, self.path],
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
            )
            assert child.stdout is not None
            for _ in range(lines):
                acknowledged = int(child.stdout.readline())
            child.kill()
            child.communicate()
            await self.store.start()
            progress = (await self.store.journal_progress())["s"]
            self.assertGreaterEqual(progress, acknowledged)
            (total,) = await self.store.usage_report(UsageQuery(0, NOW + 1))
            self.assertEqual(total.total_requests, 7 * progress)
            await self.store.stop()


class InlineTests(SynchronousTestCase):
    """The store of a simulated world."""

    def test_everything_at_once(self) -> None:
        """On a clock without threads every operation is done when its call returns."""
        for path in (MEMORY, self.mktemp()):
            store = SQLiteStore(world(reactor=Clock()), path)
            self.successResultOf(store.start())
            first = seed()
            self.assertTrue(self.successResultOf(store.bootstrap(first, NOW)))
            self.assertEqual(len(self.successResultOf(store.load(NOW)).keys), 1)
            self.assertEqual(self.successResultOf(store.commit_usage("s", 1, [event()])), 1)
            self.assertFalse(self.successResultOf(store.bootstrap(first, NOW)))
            self.successResultOf(store.stop())
            self.failureResultOf(store.ping(), StoreUnavailable)

    def test_memory_needs_inline(self) -> None:
        """A database in memory cannot be shared by threads, and says so."""
        with self.assertRaises(ValueError):
            SQLiteStore(world(), MEMORY)

    def test_bad_options(self) -> None:
        """Unknown drivers and settings are refused when the store is made."""
        with self.assertRaises(ValueError):
            open_store(world(), "oracle", "x")
        with self.assertRaises(ValueError):
            open_store(world(), "sqlite", "x", synchronous="off")

    def test_sqlite_needs_no_postgres_driver(self) -> None:
        """Using SQLite imports neither psycopg2 nor txpostgres."""
        code = (
            "import sys, voidllm.store.sqlite, voidllm.store\n"
            "print([m for m in ('psycopg2', 'txpostgres') if m in sys.modules])"
        )
        out = subprocess.check_output([sys.executable, "-c", code], text=True)
        self.assertEqual(out.strip(), "[]")

    def test_strict_tables(self) -> None:
        """The tables refuse values of another type, as PostgreSQL's do."""
        store = SQLiteStore(world(reactor=Clock()), MEMORY)
        self.successResultOf(store.start())
        work = store._write(_write("INSERT INTO journal_progress VALUES (?, ?)", "s", "no number"))
        self.failureResultOf(work, StoreRejected)
        self.successResultOf(store.stop())
        self.assertGreaterEqual(sqlite3.sqlite_version_info, (3, 37))
