"""The open loop of a schedule and the closed loop, as ``native/schedule.h`` and ``closed.h`` have them."""

from __future__ import annotations

import sys
from array import array
from collections import deque

from .client import LOST, NO_CONNECT, OK, TIMEOUT, Client, Connection, Request
from .usage import Watch
from .wire import now_ns

_TICK_NS = 200_000_000
_ROOM_NS = 5_000_000
_OPEN_YET = 255


class Schedule(Client):
    """Requests leave when they are due, whatever became of earlier ones.

    :ivar sent: lateness of each; ``took``: from when it was due to the last byte, or the first event.
    """

    def __init__(
        self, request: Request, connections: int, arrivals: array[int], skip: int, timeout_ns: int
    ) -> None:
        super().__init__(request, connections)
        count = len(arrivals)
        self.due, self.skip, self.timeout_ns = arrivals, skip, timeout_ns
        self.sent, self.took = array("Q", bytes(8 * count)), array("Q", bytes(8 * count))
        self.outcomes = bytearray([_OPEN_YET]) * count
        self.was_free = bytearray(count)
        self.gaps: array[int] = array("Q")
        self.events = self.events_lost = self.held = self.held_most = 0
        self.seconds = 0.0
        self._carrier: dict[int, Connection] = {}
        self._events_of = array("L", bytes(array("L").itemsize * count))
        self._idle: deque[Connection] = deque()
        self._closed: list[Connection] = []
        # [waiting, next) are due and not sent.
        self._next = self._waiting = self._expiring = self._over = self._failed = 0
        self._begun = False

    def run(self, watch: Watch, progress: bool) -> None:
        """Run to the end: every request has an outcome."""
        self.connect_all()
        begun = now_ns() + _ROOM_NS
        self.due = array("Q", (begun + offset for offset in self.due))
        self._begun = True
        window, tick, count, looked = self.due[self.skip], begun + _TICK_NS, len(self.due), False
        while self._over < count:
            now = now_ns()
            if not looked and now + 2_000_000 >= window:
                watch.look()
                looked = True
            self._send_due(now)
            self._expire(now)
            while self._closed and self._next - self._waiting > self.connecting:
                self.connect(self._closed.pop())
            if now >= tick:
                tick = now + _TICK_NS
                if progress:
                    print("progress", self._over, self._failed, f"{(now - begun) / 1e9:.3f}", file=sys.stderr)
            until = min(tick, self.due[self._next]) if self._next < count else tick
            if self._expiring < self._next:
                until = min(until, self.due[self._expiring] + self.timeout_ns)
            if self._over < count:
                self.wait(until if looked else min(until, window - 2_000_000))
        if not looked:
            watch.look()
        watch.look()
        self.seconds = (now_ns() - window) / 1e9

    def between(self) -> None:
        """Send what has become due."""
        if self._begun:
            self._send_due(now_ns())

    def _send_due(self, now: int) -> None:
        while self._next < len(self.due) and self.due[self._next] <= now:
            connection = self._take_idle() if self._waiting == self._next else None
            if connection is not None:
                self.was_free[self._next] = 1
                self._waiting += 1
                self._dispatch(connection, self._next)
            self._next += 1

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            connection.listed = False
            if connection.connected and not connection.busy:
                return connection
        return None

    def _dispatch(self, connection: Connection, number: int) -> None:
        self._carrier[number] = connection
        self.held += 1
        self.held_most = max(self.held, self.held_most)
        self.send(connection, self.due[number], number)
        self.sent[number] = max(0, connection.sent_at - self.due[number])

    def on_free(self, connection: Connection) -> None:
        """Send the request that waits longest, or keep the connection."""
        if self._begun and self._waiting < self._next:
            self._waiting += 1
            self._dispatch(connection, self._waiting - 1)
        elif not connection.listed:
            connection.listed = True
            self._idle.append(connection)

    def on_no_connection(self, connection: Connection) -> None:
        """Fail the request that waits longest."""
        self._closed.append(connection)
        if self._begun and self._waiting < self._next:
            self._settle_waiting(NO_CONNECT, now_ns())

    def on_finished(self, connection: Connection, outcome: int, now: int) -> None:
        """Note the outcome."""
        self.held -= 1
        del self._carrier[connection.number]
        self._events_of[connection.number] = connection.events
        self._settle(connection.number, outcome, now)

    def on_event(self, connection: Connection, number: int, at: int, now: int) -> None:
        """Note the time to the first event, and the lateness of the others."""
        if connection.number >= self.skip:
            if number:
                self.gaps.append(max(0, now - at))
            else:
                self.took[connection.number] = now - connection.intended
        self.events += now >= self.due[self.skip]

    def _settle(self, number: int, outcome: int, now: int) -> None:
        self.outcomes[number] = outcome
        if not (self.request.stream and self.took[number]):
            self.took[number] = now - self.due[number]
        self._over += 1
        self._failed += outcome != OK

    def _settle_waiting(self, outcome: int, now: int) -> None:
        number = self._waiting
        self._waiting += 1
        self.sent[number] = now - self.due[number]
        self._settle(number, outcome, now)

    def _expire(self, now: int) -> None:
        while self._expiring < self._next:
            number = self._expiring
            if self.outcomes[number] == _OPEN_YET:
                if self.due[number] + self.timeout_ns > now:
                    return
                if number == self._waiting:
                    self._settle_waiting(TIMEOUT, now)
                else:
                    self.finish(self._carrier[number], TIMEOUT, now)
            self._expiring += 1

    def count_lost(self, expected: int) -> None:
        """Count events that never came; streams that ended well without all of them are ``lost``."""
        expected = expected or max(self._events_of)
        for number in range(self.skip, len(self.due)):
            had = self._events_of[number]
            self.events_lost += max(0, expected - had)
            if self.outcomes[number] == OK and had != expected:
                self.outcomes[number] = LOST


class Closed(Client):
    """Every connection asks again as soon as it has its reply."""

    def __init__(self, request: Request, connections: int) -> None:
        super().__init__(request, connections)
        self.errors: dict[int, int] = {}
        self.latency: array[int] = array("Q")
        self._start = self._end = 0

    def run(self, watch: Watch, warmup_s: float, seconds: float) -> None:
        """Run for so long."""
        self.connect_all()
        self._start = now_ns() + int(warmup_s * 1e9)
        self._end = self._start + int(seconds * 1e9)
        for connection in self.connections:
            if connection.connected:
                self.on_free(connection)
            elif connection.sock is None:
                self.connect(connection)
        for moment in (self._start, self._end):
            while now_ns() < moment:
                self.wait(moment)
            watch.look()
        for connection in self.connections:
            if connection.busy and connection.intended + 2 * 10**9 < self._end:
                self.errors[LOST] = self.errors.get(LOST, 0) + 1

    def on_free(self, connection: Connection) -> None:
        """Ask again."""
        now = now_ns()
        if self._end and now < self._end:
            self.send(connection, now, 0)

    def on_finished(self, connection: Connection, outcome: int, now: int) -> None:
        """Count the reply."""
        if outcome != OK:
            self.errors[outcome] = self.errors.get(outcome, 0) + 1
            return
        if self._start <= now < self._end:
            self.latency.append(now - connection.intended)

    def on_no_connection(self, connection: Connection) -> None:
        """Try again, though not for ever."""
        self.errors[NO_CONNECT] = self.errors.get(NO_CONNECT, 0) + 1
        if self._end and self.errors[NO_CONNECT] < 500:
            self.connect(connection)
