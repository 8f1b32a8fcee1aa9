"""The PostgreSQL store: txpostgres connections, each of our own making."""

from __future__ import annotations

from functools import partial
from typing import Sequence

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from zope.interface import implementer

from voidllm.core.errors import StateError, StoreConflict, StoreRejected, StoreUnavailable
from voidllm.core.interfaces import IStore
from voidllm.core.world import World
from voidllm.store import partitions
from voidllm.store.base import Make, SQLStore, detached
from voidllm.store.dialect import POSTGRES
from voidllm.store.migrate import migrate, migrations
from voidllm.store.pg_address import parameters, resolved
from voidllm.store.pg_errors import ConnectionGone, TryAgain
from voidllm.store.pg_link import Link
from voidllm.store.pg_listen import Listening
from voidllm.store.pg_pool import Pool, PoolStats
from voidllm.store.statements import Op, Query, Rows, T

_log = Logger(namespace="voidllm.store")

_MIGRATION_TIMEOUT_S = 300.0

#: How often a transaction is run that the server rolled back for the sake of another one.
_ATTEMPTS = 4


class _NothingSent(ConnectionGone):
    """The connection was dead before the transaction began, so anything may be tried again."""


@implementer(IStore)
class PostgresStore(SQLStore):
    """A store in a PostgreSQL database, shared by any number of boxes.

    :param dsn: libpq connection string or URL.
    :param connections: how many to keep, besides the one that listens for changes.
    :param waiting: how many operations may wait for one of them.
    :param checkout_timeout_s: how long one may wait.
    :param statement_timeout_s: how long a statement may run; the server's own timeout, and one
        second later ours, which closes the connection.
    :param start_timeout_s: how long ``start`` waits for the first connection.
    :param stop_timeout_s: how long ``stop`` waits for what is running.
    """

    def __init__(
        self,
        world: World,
        dsn: str,
        *,
        connections: int = 4,
        waiting: int = 200,
        connect_timeout_s: float = 5.0,
        checkout_timeout_s: float = 5.0,
        statement_timeout_s: float = 10.0,
        start_timeout_s: float = 10.0,
        stop_timeout_s: float = 10.0,
        lifetime_s: float = 1800.0,
    ) -> None:
        super().__init__(world, POSTGRES)
        self._parameters = parameters(dsn, statement_timeout_s)
        self._connections = connections
        self._waiting = waiting
        self._connect_timeout_s = connect_timeout_s
        self._checkout_timeout_s = checkout_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._lifetime_s = lifetime_s
        self._pool: Pool | None = None
        self._listening: Listening | None = None
        self._days: set[int] = set()
        self._resolving = DeferredLock()

    def start(self) -> Deferred[None]:
        """Connect, bring the tables up to date and listen for changes.

        :raises StoreUnavailable: if PostgreSQL does not answer in time; this may be called again.
        :raises StateError: if the migrations do not match.
        """
        return detached(self._start())

    async def _start(self) -> None:
        if self._pool is not None:
            raise StateError("the store is started already")
        pool = self._pool = Pool(
            self._world,
            self._resolve,
            size=self._connections,
            waiting=self._waiting,
            connect_timeout_s=self._connect_timeout_s,
            lifetime_s=self._lifetime_s,
        )
        try:
            make = partial(migrate, migrations(POSTGRES), self._world.wall_ms())
            await self._once(
                pool, make, POSTGRES.begin_migration, self._start_timeout_s, _MIGRATION_TIMEOUT_S
            )
            self._days.clear()
            await self._make_partitions(partitions.days_ahead(self._world.wall_ms()))
            listening = Listening(
                self._world,
                self._resolve,
                self._announce,
                self._missed,
                connect_timeout_s=self._connect_timeout_s,
                statement_timeout_s=self._statement_timeout_s,
            )
            self._listening = listening
            await listening.start()
        except BaseException:
            await self._stop()
            raise

    def stop(self) -> Deferred[None]:
        """Let what is running finish, within the deadline, and close every connection."""
        return detached(self._stop())

    async def _stop(self) -> None:
        listening, self._listening = self._listening, None
        pool, self._pool = self._pool, None
        if listening is not None:
            listening.close()
        if pool is not None:
            await pool.close(self._stop_timeout_s)

    def stats(self) -> PoolStats | None:
        """Count connections and waiters, for metrics; ``None`` when stopped."""
        return None if self._pool is None else self._pool.stats()

    async def _commit_lines(self, segment: str, end_offset: int, lines: Sequence[bytes]) -> int:
        # Days without a partition get theirs first.
        now_ms = self._world.wall_ms()
        days = partitions.days_of(lines, now_ms)
        if not days <= self._days:
            await self._make_partitions(days | partitions.days_ahead(now_ms))
        return await super()._commit_lines(segment, end_offset, lines)

    async def _make_partitions(self, days: set[int]) -> None:
        missing = days - self._days
        try:
            await self._run(partial(partitions.make_partitions, missing), write=True, repeatable=True)
        except (StoreConflict, StoreRejected):
            if len(missing) > 1:
                for day in missing:
                    await self._make_partitions({day})
                return
            # The default partition holds rows of that day already; there they stay.
            _log.warn("no partition can be made for the usage of {day}", day=min(missing))
        self._days |= missing

    async def _resolve(self) -> str:
        # One at a time: a name server that is down must not use up the process's threads.
        await self._resolving.acquire()
        try:
            return await resolved(self._world, self._parameters)
        finally:
            self._resolving.release()

    async def _run(self, make: Make[T], *, write: bool, repeatable: bool) -> T:
        begin = (self._dialect.begin_write if write else self._dialect.begin_read,)
        attempt = 1
        while True:
            if self._pool is None:
                raise StoreUnavailable("the store is not started")
            try:
                return await self._once(
                    self._pool, make, begin, self._checkout_timeout_s, self._statement_timeout_s
                )
            except TryAgain:
                if attempt >= _ATTEMPTS:
                    raise
            except _NothingSent:
                # After a restart of the server every connection is dead until it is tried.
                if attempt > self._connections:
                    raise
            except ConnectionGone:
                if not repeatable or attempt > 1:
                    raise
            attempt += 1

    async def _once(
        self, pool: Pool, make: Make[T], begin: tuple[str, ...], checkout_s: float, statement_s: float
    ) -> T:
        slot = await pool.checkout(checkout_s)
        try:
            assert slot.link is not None
            return await _transact(slot.link, begin, make, statement_s, self._statement_timeout_s)
        finally:
            pool.release(slot)


async def _transact(
    link: Link, begin: tuple[str, ...], make: Make[T], timeout_s: float, usual_timeout_s: float
) -> T:
    """Drive an operation from its first statement to its commit."""
    try:
        await link.execute(Query(begin[0]), timeout_s)
    except ConnectionGone:
        raise _NothingSent("the connection to PostgreSQL was lost") from None
    try:
        if timeout_s > usual_timeout_s:
            milliseconds = int(timeout_s * 1000)
            for name in ("statement_timeout", "lock_timeout"):
                await link.execute(Query(f"SET LOCAL {name} = {milliseconds}"), timeout_s)
        for statement in begin[1:]:
            await link.execute(Query(statement), timeout_s)
        operation: Op[T] = make()
        rows: Rows | None = None
        while True:
            try:
                query = operation.send(rows)  # type: ignore[arg-type]
            except StopIteration as stop:
                result: T = stop.value
                break
            rows = await link.execute(query, timeout_s)
        await link.execute(Query("COMMIT"), timeout_s)
    except BaseException:
        await link.roll_back(usual_timeout_s)
        raise
    return result
