"""Find clients that have stopped reading their reply."""

from __future__ import annotations

from typing import Any

from voidllm.http.watch import Watch


def unsent(transport: Any) -> int | None:
    """Say how many bytes wait in the transport's buffer; ``None`` where that cannot be known.

    Twisted has no public way to ask, so a missing attribute is taken as "unknown".
    """
    try:
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # type: ignore[no-any-return]
    except (AttributeError, TypeError):
        return None


class WriteWatch:
    """Aborts a connection whose client takes no byte for a while, as long as it is begun.

    :param limit: seconds without progress.
    """

    __slots__ = ("_clock", "_limit", "_seen", "_transport", "_watch")

    def __init__(self, clock: Any, limit: float, transport: Any) -> None:
        self._clock = clock
        self._limit = limit
        self._transport = transport
        self._watch: Watch | None = None
        self._seen: int | None = None

    def begin(self) -> None:
        """Something waits to be written; time its progress from now."""
        if self._watch is None:
            self._watch = Watch(self._clock, self._limit, self._expired)
        self._seen = unsent(self._transport)
        self._watch.set(self._clock.seconds(), self._limit)

    def clear(self) -> None:
        """Nothing waits any more."""
        if self._watch is not None:
            self._watch.clear()

    def stop(self) -> None:
        """End for good; no timer is left."""
        if self._watch is not None:
            self._watch.stop()

    def _expired(self) -> None:
        now_unsent = unsent(self._transport)
        if now_unsent is not None and self._seen is not None and now_unsent < self._seen:
            self.begin()
        else:
            self._transport.abortConnection()
