"""Following the store: something is read again when it says so, and now and then in case it did not."""

from __future__ import annotations

from typing import Any, Callable, Coroutine

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.errors import StoreError
from voidllm.core.world import World

_log = Logger()
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# Notifications do the work; this finds what a lost one would have said.
_POLL_S = 5.0


def retry_s(attempt: int) -> float:
    """Say how long to wait after failed try number ``attempt``, from 0, of reading the store."""
    return _RETRY_S[min(attempt, len(_RETRY_S) - 1)]


class Follower:
    """Does some reading again after each change of a store, never twice at a time.

    :param read: reads; what is known so far serves on while it fails.
    :param what: says in the log what cannot be read.
    :param crashed: called after a failure that is not the store's.
    :ivar rest_until_s: no reading begins before, by the reactor's clock; ``read`` may set it.
    """

    def __init__(
        self,
        world: World,
        store: Any,
        read: Callable[[], Coroutine[Any, Any, None]],
        what: str,
        crashed: Callable[[], None] = lambda: None,
    ) -> None:
        self.rest_until_s = 0.0
        self._world = world
        self._store = store
        self._read = read
        self._what = what
        self._crashed = crashed
        self._failures = 0
        self._busy = False
        self._again = False
        self._timer: Any = None
        self._unsubscribe: Callable[[], None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Read, then follow the store; does nothing more if it was stopped meanwhile.

        :raises StoreError: if the store cannot be read now; then this may be called again.
        """
        self._busy = True
        try:
            await self._read()
            if self._stopped:
                return
            if self._unsubscribe is None:
                self._unsubscribe = self._store.subscribe(self.refresh)
            # What changed between those two.
            await self._read()
        finally:
            self._busy = False
        self._done(None)

    def stop(self) -> None:
        """Follow the store no longer."""
        self._stopped = True
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def refresh(self) -> None:
        """Read again soon; calls while that is done make it once more."""
        if self._stopped:
            return
        if self._busy:
            self._again = True
            return
        rest_s = self.rest_until_s - self._world.reactor.seconds()
        if rest_s > 0:
            self._schedule(rest_s)
            return
        self._busy = True
        Deferred.fromCoroutine(self._read()).addCallbacks(self._done, self._failed)

    def _done(self, _: None) -> None:
        self._busy = False
        self._failures = 0
        again, self._again = self._again, False
        if again:
            self.refresh()
        else:
            self._schedule(_POLL_S)

    def _failed(self, failure: Any) -> None:
        self._busy = False
        self._again = False
        if failure.check(StoreError) is None:
            _log.failure("{what} cannot be read", failure, what=self._what)
            self._crashed()
        delay_s = retry_s(self._failures)
        self._failures += 1
        self._schedule(delay_s)

    def _schedule(self, delay_s: float) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(delay_s)
        else:
            self._timer = self._world.reactor.callLater(delay_s, self.refresh)
