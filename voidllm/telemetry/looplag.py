"""How late the event loop is: the one number that says whether somebody blocks it."""

from __future__ import annotations

from typing import Any

from voidllm.core.world import World
from voidllm.telemetry.metrics import Metrics


class LoopLag:
    """Sets a timer again and again and notes how late it rings.

    :param interval_s: from one ring to the next; a block that is shorter may go unseen.
    """

    def __init__(self, world: World, metrics: Metrics, interval_s: float = 0.1) -> None:
        self._reactor = world.reactor
        self._metrics = metrics
        self._interval_s = interval_s
        self._due_s = 0.0
        self._timer: Any = None

    def start(self) -> None:
        """Begin; does nothing when begun already."""
        if self._timer is None:
            self._set()

    def stop(self) -> None:
        """End; does nothing when not begun."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        # From now, not from when it was due: after a long block one ring says it all.
        self._due_s = self._reactor.seconds() + self._interval_s
        self._timer = self._reactor.callLater(self._interval_s, self._ring)

    def _ring(self) -> None:
        self._metrics.loop_lag(max(0.0, self._reactor.seconds() - self._due_s))
        self._set()
