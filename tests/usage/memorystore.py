"""A store in memory with the promise that the batcher counts on, and faults at will."""

from __future__ import annotations

from typing import Any, Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed

from voidllm.core.errors import StoreRejected
from voidllm.core.usage import UsageEvent
from voidllm.core.usage_line import Unusable, decode_line


class MemoryStore:
    """Rows by id, a roll-up of rows really inserted, and progress; changed together or not at all.

    :ivar before: called with the operation's name and events; may raise, then nothing happens.
    :ivar after: called likewise once the change is made; may raise, as a cut connection does.
    :ivar hold: while not ``None``, commits wait here until fired.
    """

    def __init__(self) -> None:
        self.rows: dict[str, UsageEvent] = {}
        self.requests = 0
        self.tokens = 0
        self.progress: dict[str, int] = {}
        self.batches: list[int] = []
        self.before: Callable[[str, Sequence[UsageEvent]], None] = lambda operation, events: None
        self.after: Callable[[str, Sequence[UsageEvent]], None] = lambda operation, events: None
        self.hold: list[Deferred[Any]] | None = None

    def _do(self, operation: str, events: Sequence[UsageEvent], change: Callable[[], Any]) -> Deferred[Any]:
        try:
            self.before(operation, events)
            result = change()
            self.after(operation, events)
        except Exception as problem:
            return fail(problem)
        if self.hold is not None:
            waiting: Deferred[Any] = Deferred()
            self.hold.append(waiting)
            return waiting.addCallback(lambda _: result)
        return succeed(result)

    def journal_progress(self) -> Deferred[dict[str, int]]:
        return self._do("journal_progress", (), lambda: dict(self.progress))

    def commit_usage(self, segment: str, end_offset: int, events: Sequence[UsageEvent]) -> Deferred[int]:
        def change() -> int:
            assert end_offset >= self.progress.get(segment, 0), "progress goes backwards"
            new = [event for event in events if event.id not in self.rows]
            for event in new:
                self.rows[event.id] = event
                self.requests += 1
                self.tokens += event.tokens.total
            self.progress[segment] = end_offset
            self.batches.append(len(events))
            return len(new)

        return self._do("commit_usage", events, change)

    def commit_lines(self, segment: str, end_offset: int, lines: Sequence[bytes]) -> Deferred[int]:
        try:
            events = [decode_line(line) for line in lines]
        except Unusable:
            return fail(StoreRejected("no row"))
        return self.commit_usage(segment, end_offset, events)

    def make_durable(self) -> Deferred[None]:
        return self._do("make_durable", (), lambda: None)

    def forget_segments(self, segments: Sequence[str]) -> Deferred[None]:
        def change() -> None:
            for name in segments:
                self.progress.pop(name, None)

        return self._do("forget_segments", (), change)
