"""Drops what is older than it is to be kept, now and then, beside the traffic."""

from __future__ import annotations

from typing import Any, Awaitable, Callable

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voidllm.core.errors import StoreError
from voidllm.core.usage_cover import HOURS_KEPT_MS
from voidllm.core.usage_days import DAY_MS
from voidllm.core.world import World
from voidllm.store import retention
from voidllm.store.usage_columns import day_of

_log = Logger()

_FIRST_S = 60.0
_DAY_S = 86_400.0
#: Between two pieces, in which others write.
_PAUSE_S = 0.02
# A day more than reports look at, because days end at different times around the world.
_HOURS_MS = HOURS_KEPT_MS + 2 * DAY_MS
_COUNTED_MS = 62 * DAY_MS


def _ended(failure: Failure) -> None:
    if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
        _log.failure("nothing is dropped any more", failure)


@frozen
class Keep:
    """For how long; 0 is for good.

    :ivar events_ms: usage rows.
    :ivar reports_ms: sums by days and months.
    :ivar interval_s: how often it is looked.
    """

    events_ms: int = 0
    reports_ms: int = 0
    interval_s: float = _DAY_S


class Retention(Service):
    """Looks for what is too old, at least once a day.

    :param store: a :class:`~voidllm.store.base.SQLStore`, started.
    :param keep: asked each time.
    :param others: what else drops something: called with the wall time in milliseconds, one after
        the other; what one fails with is logged and stops none of the others.
    """

    def __init__(
        self,
        world: World,
        store: Any,
        keep: Callable[[], Keep],
        others: tuple[Callable[[int], Awaitable[Any]], ...] = (),
    ) -> None:
        self._world = world
        self._store = store
        self._keep = keep
        self._others = others
        self._work: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin; the first look comes a minute later."""
        super().startService()  # type: ignore[no-untyped-call]
        self._work = Deferred.fromCoroutine(self._run())
        self._work.addErrback(_ended)

    def stopService(self) -> None:
        """Stop between two pieces; one that the database works on is finished by it."""
        super().stopService()  # type: ignore[no-untyped-call]
        work, self._work = self._work, None
        if work is not None:
            work.cancel()

    async def _run(self) -> None:
        await self._wait(_FIRST_S)
        while True:
            await self.sweep()
            await self._wait(min(_DAY_S, max(1.0, self._keep().interval_s)))

    async def sweep(self) -> None:
        """Drop everything that is too old now."""
        now_ms = self._world.wall_ms()
        for work in (self._usage, *self._others):
            try:
                await work(now_ms)
            except StoreError as problem:
                _log.warn("what is old is dropped next time ({problem})", problem=str(problem))
            except CancelledError:
                raise
            except Exception:
                _log.failure("what is old could not be dropped")

    async def _usage(self, now_ms: int) -> None:
        keep, store = self._keep(), self._store
        # Rows are in no report before they are added up.
        await store.roll_up()
        if keep.events_ms:
            await self._events(day_of(max(0, now_ms - keep.events_ms)))
        oldest = day_of(max(0, now_ms - keep.reports_ms)) if keep.reports_ms else None
        after: int | None = 0
        while after is not None:
            op = retention.drop_sums
            after = await store.write(op, store.dialect, after, now_ms - _HOURS_MS, oldest)
            await self._wait(_PAUSE_S)
        counted, tags = day_of(now_ms - _COUNTED_MS), day_of(now_ms - _HOURS_MS)
        await store.write(retention.drop_counted, counted, tags)

    async def _events(self, day: int) -> None:
        store = self._store
        if store.dialect.name == "postgres":
            for name in await store.read(retention.old_partitions, day):
                await store.write(retention.drop_partition, name)
                await self._wait(_PAUSE_S)
        # On PostgreSQL these are what no partition was made for.
        while await store.write(retention.drop_events, day):
            await self._wait(_PAUSE_S)

    async def _wait(self, seconds: float) -> None:
        await deferLater(self._world.reactor, seconds)
