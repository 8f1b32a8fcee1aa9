"""One timer for all live streams, instead of several for each."""

from __future__ import annotations

from typing import Any, Protocol


class Swept(Protocol):
    """Something that wants to look at the clock now and then."""

    def tick(self, now_s: float) -> None:
        """Look at the monotonic clock."""


class StreamSweeper:
    """Ticks every live stream once a second; idle, it leaves nothing in the reactor.

    :param reactor: provides ``IReactorTime``.
    :param interval_s: between two sweeps; also how late a stream may notice a deadline.
    """

    def __init__(self, reactor: Any, interval_s: float = 1.0) -> None:
        self._reactor = reactor
        self._interval_s = interval_s
        self._swept: set[Swept] = set()
        self._timer: Any = None

    def add(self, stream: Swept) -> None:
        """Begin to tick ``stream``."""
        self._swept.add(stream)
        if self._timer is None:
            self._timer = self._reactor.callLater(self._interval_s, self._sweep)

    def remove(self, stream: Swept) -> None:
        """Stop ticking ``stream``; unknown ones are no error."""
        self._swept.discard(stream)
        if not self._swept and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now_s = self._reactor.seconds()
        for stream in tuple(self._swept):
            stream.tick(now_s)
        if self._swept and self._timer is None:
            self._timer = self._reactor.callLater(self._interval_s, self._sweep)
