"""One deadline that moves with every request without touching the reactor's timers."""

from __future__ import annotations

from typing import Any, Callable

_NEVER = float("inf")


def _nothing() -> None:
    """Do nothing."""


class Watch:
    """Calls ``expired`` once its deadline has passed.

    The underlying timer is never set further ahead than ``tick``, so moving the deadline
    is an assignment; the timer looks again when it fires. Exact all the same.

    :param clock: an ``IReactorTime``.
    :param tick: seconds; at most the shortest delay that is commonly set.
    :param expired: called without arguments; the watch is then clear.
    """

    __slots__ = ("_at", "_clock", "_expired", "_stopped", "_tick", "_timer", "_timer_at")

    def __init__(self, clock: Any, tick: float, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._tick = tick
        self._expired = expired
        self._at = _NEVER
        self._timer: Any = None
        self._timer_at = _NEVER
        self._stopped = False

    def set(self, now: float, delay: float) -> None:
        """Move the deadline to ``delay`` seconds after ``now``, the clock's present reading."""
        self._at = at = now + delay
        if self._timer is None:
            if not self._stopped:
                self._arm(now)
        elif at < self._timer_at:
            self._timer_at = at
            self._timer.reset(delay)

    def clear(self) -> None:
        """There is no deadline."""
        self._at = _NEVER

    def stop(self) -> None:
        """End for good; no timer is left."""
        self._at = _NEVER
        self._stopped = True
        # Usually a method of the watch's owner: without it neither needs the garbage collector.
        self._expired = _nothing
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _arm(self, now: float) -> None:
        delay = min(self._tick, self._at - now)
        self._timer_at = now + delay
        self._timer = self._clock.callLater(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._at == _NEVER:
            return
        now = self._clock.seconds()
        # A float's rounding must not make a deadline of this very moment wait another round.
        if self._at - now > 1e-6:
            self._arm(now)
        else:
            self._at = _NEVER
            self._expired()
