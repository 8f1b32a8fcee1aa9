"""A fixed number of connections that keep themselves open, and an ordered, bounded queue for them."""

from __future__ import annotations

from collections import deque
from typing import Any, Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.errors import StateError, StoreBusy, StoreError, StoreUnavailable
from voidllm.core.world import World
from voidllm.store.pg_backoff import Backoff
from voidllm.store.pg_link import Link

_log = Logger(namespace="voidllm.store")

#: Gives a connection string with its names resolved.
Resolve = Callable[[], Awaitable[str]]


@frozen
class PoolStats:
    """How a pool is doing; the last three only grow.

    :ivar waits: how often nothing was free when it was asked for.
    :ivar waited_s: for how long altogether.
    """

    idle: int
    busy: int
    waiting: int
    reconnects: int
    waits: int
    waited_s: float


class _Slot:
    """A place in the pool: connecting (or waiting to), idle, or busy; counted by the pool."""

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.link: Link | None = None
        self.busy = False
        self.retire: Any = None
        self.retry: Any = None
        self.worn = False


class Pool:
    """Hands out live connections only, in the order in which they are asked for.

    :param size: how many connections.
    :param waiting: how many may wait for one.
    :param lifetime_s: a connection is replaced after this long (less up to a fifth).
    """

    def __init__(
        self,
        world: World,
        resolve: Resolve,
        *,
        size: int,
        waiting: int,
        connect_timeout_s: float,
        lifetime_s: float,
    ) -> None:
        self._world = world
        self._reactor = world.reactor
        self._resolve = resolve
        self._most_waiting = waiting
        self._connect_timeout_s = connect_timeout_s
        self._lifetime_s = lifetime_s
        self._slots = [_Slot(Backoff(world.rng)) for _ in range(size)]
        self._idle: deque[_Slot] = deque()
        self._waiters: deque[Deferred[_Slot]] = deque()
        self._drained: Deferred[None] | None = None
        self._closed = False
        self._warned = False
        self._problem: StoreError | None = None
        self._reconnects = 0
        self._waits = 0
        self._waited_s = 0.0
        for slot in self._slots:
            self._connect(slot)

    def stats(self) -> PoolStats:
        """Count connections and waiters."""
        busy = sum(slot.busy for slot in self._slots)
        return PoolStats(
            len(self._idle), busy, len(self._waiters), self._reconnects, self._waits, self._waited_s
        )

    async def checkout(self, timeout_s: float) -> _Slot:
        """Wait for a connection; give it back with :meth:`release`.

        :raises StoreBusy: if too many wait already, or none became free in time.
        :raises StoreUnavailable: if none was even open.
        """
        if self._closed:
            raise StoreUnavailable("the store is not started")
        if self._idle:
            slot = self._idle.popleft()
            slot.busy = True
            return slot
        if len(self._waiters) >= self._most_waiting:
            raise StoreBusy("too many operations are waiting for PostgreSQL")
        waiter: Deferred[_Slot] = Deferred()
        self._waiters.append(waiter)
        self._waits += 1
        began = self._reactor.seconds()
        timer = self._reactor.callLater(timeout_s, self._give_up, waiter)
        try:
            return await waiter
        finally:
            self._waited_s += self._reactor.seconds() - began
            if timer.active():
                timer.cancel()

    def release(self, slot: _Slot) -> None:
        """Give a slot back, whatever became of its connection."""
        slot.busy = False
        if slot.link is not None and slot.worn:
            slot.link.close()
        elif slot.link is not None:
            self._offer(slot)
        elif not self._closed:
            self._later(slot)
        if self._drained is not None and not any(s.busy for s in self._slots):
            drained, self._drained = self._drained, None
            drained.callback(None)

    async def close(self, deadline_s: float) -> None:
        """Refuse new work, let what runs finish for ``deadline_s``, then close every connection."""
        self._closed = True
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            waiter.errback(StoreUnavailable("the store was stopped"))
        for slot in self._slots:
            if slot.retry is not None and slot.retry.active():
                slot.retry.cancel()
            if not slot.busy and slot.link is not None:
                slot.link.close()
        if any(slot.busy for slot in self._slots):
            drained = self._drained = Deferred()
            timer = self._reactor.callLater(deadline_s, self._cut)
            await drained
            if timer.active():
                timer.cancel()

    def _cut(self) -> None:
        # Each running statement fails now, and its slot comes back through release().
        for slot in self._slots:
            if slot.link is not None:
                slot.link.close()

    def _give_up(self, waiter: Deferred[_Slot]) -> None:
        self._waiters.remove(waiter)
        if any(slot.busy for slot in self._slots):
            waiter.errback(StoreBusy("no connection to PostgreSQL became free in time"))
        else:
            waiter.errback(self._problem or StoreUnavailable("PostgreSQL cannot be reached"))

    def _offer(self, slot: _Slot) -> None:
        if self._closed:
            if slot.link is not None:
                slot.link.close()
        elif self._waiters:
            slot.busy = True
            self._waiters.popleft().callback(slot)
        else:
            self._idle.append(slot)

    def _connect(self, slot: _Slot) -> None:
        slot.retry = None
        work = Deferred.fromCoroutine(self._connect_once(slot))
        work.addErrback(lambda failure: _log.failure("connecting to PostgreSQL broke", failure))

    async def _connect_once(self, slot: _Slot) -> None:
        link = Link(self._reactor, lambda link: self._lost(slot, link))
        slot.worn = False
        try:
            dsn = await self._resolve()
            if self._closed:
                return
            slot.link = link
            await link.connect(dsn, self._connect_timeout_s)
        except (StoreError, StateError) as error:
            self._problem = error if isinstance(error, StoreError) else None
            self._warn(str(error))
            slot.link = None
            if not self._closed:
                self._later(slot)
            return
        if self._closed:
            link.close()
            return
        slot.backoff.reset()
        lifetime_s = self._lifetime_s * self._world.rng.uniform(0.8, 1.0)
        slot.retire = self._reactor.callLater(lifetime_s, self._retire, slot)
        if self._warned and all(s.link is not None and not s.link.closed for s in self._slots):
            self._warned = False
            _log.info("all connections to PostgreSQL are open again")
        self._offer(slot)

    def _lost(self, slot: _Slot, link: Link) -> None:
        if slot.link is not link:
            return
        slot.link = None
        if slot.retire is None:
            # Still connecting: the attempt itself reports its failure.
            return
        if slot.retire.active():
            slot.retire.cancel()
        slot.retire = None
        if slot in self._idle:
            self._idle.remove(slot)
        if self._closed:
            return
        self._reconnects += 1
        if not slot.worn:
            self._warn("the connection was lost")
        # A busy slot comes back through release() first, so that it is never in two hands.
        if not slot.busy:
            self._later(slot)

    def _later(self, slot: _Slot) -> None:
        delay = 0.0 if slot.worn else slot.backoff.next()
        slot.retry = self._reactor.callLater(delay, self._connect, slot)

    def _retire(self, slot: _Slot) -> None:
        slot.worn = True
        if not slot.busy and slot.link is not None:
            slot.link.close()

    def _warn(self, problem: str) -> None:
        """Say once per outage what the trouble is, not once per connection and attempt."""
        if not self._warned and not self._closed:
            self._warned = True
            _log.warn("PostgreSQL: {problem}; trying again until it answers", problem=problem)
