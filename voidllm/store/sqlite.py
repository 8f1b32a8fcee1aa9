"""The SQLite store: one thread writes, two read, and one process owns the file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from functools import partial
from typing import Any, Callable
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from voidllm.core.errors import StateError, StateInUse, StoreUnavailable
from voidllm.core.interfaces import IStore
from voidllm.core.world import World
from voidllm.store.base import Make, SQLStore, detached
from voidllm.store.dialect import SQLITE
from voidllm.store.migrate import migrate, migrations
from voidllm.store.sqlite_errors import ERRORS, store_error
from voidllm.store.sqlite_lane import InlineLane, ThreadLane
from voidllm.store.statements import Op, Rows, T

#: In place of a path: a database that is gone when the store stops; only without threads.
MEMORY = ":memory:"

_READERS = 2


@implementer(IStore)
class SQLiteStore(SQLStore):
    """A store in one file.

    SQLite opens its files itself, so this is not for simulated file systems: a simulated
    world uses :data:`MEMORY`, or a real path.

    :param synchronous: with ``full`` a transaction is on disk when it is acknowledged. With
        ``normal`` it outlives the process only: a power cut takes back every transaction since the
        write-ahead log was last synced, which happens when it is folded into the database (about
        every 4 MB) and in :meth:`make_durable`. Neither ever loses half of a transaction.
    :param inline: work in the caller's thread; by default if the reactor has no threads.
    :param depth: how many operations may wait, for writing and for reading.
    """

    def __init__(
        self,
        world: World,
        path: str,
        *,
        synchronous: str = "normal",
        inline: bool | None = None,
        depth: int = 1000,
        busy_timeout_s: float = 5.0,
    ) -> None:
        super().__init__(world, SQLITE)
        if synchronous not in ("normal", "full"):
            raise ValueError("synchronous is normal or full")
        self._path = path
        self._synchronous = synchronous
        self._inline = not IReactorFromThreads.providedBy(world.reactor) if inline is None else inline
        if path == MEMORY and not self._inline:
            raise ValueError("a database in memory works without threads only")
        self._depth = depth
        self._busy_timeout_s = busy_timeout_s
        self._lock: int | None = None
        self._writer: ThreadLane | InlineLane | None = None
        self._reader: ThreadLane | InlineLane | None = None

    def start(self) -> Deferred[None]:
        """Lock the file, open it and bring its tables up to date.

        :raises StateError: if another process has it, or its migrations do not match.
        """
        return detached(self._start())

    async def _start(self) -> None:
        if self._writer is not None:
            raise StateError("the store is started already")
        if self._path != MEMORY:
            self._lock = _lock(self._path)
        try:
            self._writer = self._lane(self._open_for_writing, "store-writer", 1)
            await self._writer.run(self._migrate)
        except BaseException:
            await self._stop()
            raise
        # Two connections to one database in memory are two databases.
        self._reader = (
            self._writer
            if self._path == MEMORY
            else self._lane(self._open_for_reading, "store-reader", _READERS)
        )

    def stop(self) -> Deferred[None]:
        """Finish what is queued, close the file and give up its lock."""
        return detached(self._stop())

    async def _stop(self) -> None:
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader is not None:
            await reader.close()
        if writer is not None:
            # The last connection to close folds the write-ahead log into the database.
            await writer.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def make_durable(self) -> Deferred[None]:
        """Sync the write-ahead log; what is no longer in it was synced when it left."""
        if self._synchronous == "full" or self._path == MEMORY:
            return succeed(None)
        if self._writer is None:
            return fail(StoreUnavailable("the store is not started"))
        return detached(self._make_durable(self._writer))

    async def _make_durable(self, writer: ThreadLane | InlineLane) -> None:
        # In the writer's thread, so that it comes after every commit that was asked for before.
        await writer.run(lambda connection: _sync(self._path + "-wal"))

    async def _run(self, make: Make[T], *, write: bool, repeatable: bool) -> T:
        lane = self._writer if write else self._reader
        if lane is None:
            raise StoreUnavailable("the store is not started")
        begin = self._dialect.begin_write if write else self._dialect.begin_read
        result: T = await lane.run(partial(_transact, (begin,), make))
        return result

    def _lane(
        self, connect: Callable[[], sqlite3.Connection], name: str, threads: int
    ) -> ThreadLane | InlineLane:
        if self._inline:
            return InlineLane(connect)
        return ThreadLane(self._world.reactor, connect, name, threads, self._depth)

    def _migrate(self, connection: sqlite3.Connection) -> list[str]:
        make: Callable[[], Op[list[str]]] = partial(migrate, migrations(SQLITE), self._world.wall_ms())
        applied: list[str] = _transact(SQLITE.begin_migration, make, connection)
        return applied

    def _open_for_writing(self) -> sqlite3.Connection:
        if self._path != MEMORY:
            _create(self._path)
        return self._open(
            "rw",
            "PRAGMA journal_mode = WAL",
            f"PRAGMA synchronous = {self._synchronous}",
            "PRAGMA foreign_keys = ON",
        )

    def _open_for_reading(self) -> sqlite3.Connection:
        return self._open("ro", "PRAGMA query_only = ON")

    def _open(self, mode: str, *pragmas: str) -> sqlite3.Connection:
        name = MEMORY if self._path == MEMORY else f"file:{quote(os.path.abspath(self._path))}?mode={mode}"
        try:
            connection = sqlite3.connect(
                name, uri=name != MEMORY, isolation_level=None, timeout=self._busy_timeout_s
            )
            try:
                for pragma in pragmas:
                    connection.execute(pragma)
            except BaseException:
                connection.close()
                raise
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise StateError("the store's file is not a sound SQLite database") from None
            raise store_error(error) from None
        return connection


def _transact(begin: tuple[str, ...], make: Callable[[], Op[Any]], connection: sqlite3.Connection) -> Any:
    """Drive an operation from its first statement to its commit."""
    try:
        try:
            for statement in begin:
                connection.execute(statement)
            operation = make()
            rows: Rows | None = None
            while True:
                try:
                    query = operation.send(rows)  # type: ignore[arg-type]
                except StopIteration as stop:
                    connection.execute("COMMIT")
                    return stop.value
                rows = connection.execute(query.sql, query.params).fetchall()
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except ERRORS as error:
        raise store_error(error) from None


def _lock(path: str) -> int:
    """Take the lock beside the database and give its descriptor; closing it gives it up."""
    try:
        fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"{path}.lock cannot be opened ({error.strerror}); its folder must be there, and the gateway's "
            "user must be allowed to write to it"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise StateInUse(f"the store {path} is in use by another process, perhaps a gateway") from None
    return fd


def _sync(path: str) -> None:
    """Sync a file that SQLite holds open; locks are on other files, so closing it gives none up."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"the store's log cannot be synced ({error.strerror})") from None


def _create(path: str) -> None:
    """Make the database file if need be; nobody else may read it, its log files follow its mode."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
    except OSError as error:
        raise StateError(f"the store's file cannot be opened ({error.strerror})") from None
