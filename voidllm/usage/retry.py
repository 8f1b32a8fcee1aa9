"""Asking a store again until it answers."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.errors import StoreConflict, StoreError, StoreRejected
from voidllm.core.world import World

_log = Logger()
_FIRST = 0.25

T = TypeVar("T")


class Stopped(Exception):
    """There will be no further try."""


class Persistent:
    """Repeats calls with exponential backoff and jitter, for ever or until stopped.

    :param limit: longest wait between two tries, in seconds.
    :param failed: called after every try that failed.
    """

    def __init__(self, world: World, limit: float, failed: Callable[[], None]) -> None:
        self._count = failed
        self._world = world
        self._limit = limit
        self._sleeping: tuple[Any, Deferred[None]] | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped

    async def call(self, verdicts: bool, f: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Give the result of ``f(*args)``, called until it succeeds.

        :param verdicts: whether a final refusal of the data ends it; else it is tried again too.
        :raises StoreRejected: or ``StoreConflict``, if ``verdicts``.
        :raises Stopped: after :meth:`stop`.
        """
        wait = _FIRST
        while True:
            if self._stopped:
                raise Stopped
            try:
                result = await f(*args)
            except (StoreRejected, StoreConflict) as problem:
                if verdicts:
                    raise
                self._failed(problem, wait)
            except (StoreError, OSError) as problem:
                self._failed(problem, wait)
            except Exception as problem:
                # A bug in a store must not cost rows; it is as loud as can be.
                _log.failure("usage batcher: the store failed in an unknown way")
                self._failed(problem, wait)
            else:
                if wait > _FIRST:
                    _log.info("usage batcher: the store answers again")
                return result
            await self._sleep(wait * self._world.rng.uniform(0.5, 1.0))
            wait = min(wait * 2, self._limit)

    def hurry(self) -> None:
        """Make the next try now."""
        if self._sleeping is not None:
            timer, done = self._sleeping
            self._sleeping = None
            if timer.active():
                timer.cancel()
            done.callback(None)

    def stop(self) -> None:
        """Make no further try."""
        self._stopped = True
        self.hurry()

    def _failed(self, problem: Exception, wait: float) -> None:
        self._count()
        if wait == _FIRST:
            # The class only: texts of database drivers quote values.
            _log.warn("usage batcher: {problem}, trying again", problem=type(problem).__name__)

    async def _sleep(self, seconds: float) -> None:
        if self._stopped:
            return
        done: Deferred[None] = Deferred()
        self._sleeping = (self._world.reactor.callLater(seconds, self.hurry), done)
        await done
