"""Tests for the reactor's quicker turn, on reactors of their own in processes of their own."""

from __future__ import annotations

import errno
import subprocess
import sys
from functools import partial
from select import EPOLLHUP, EPOLLIN, EPOLLOUT
from types import SimpleNamespace
from typing import Any, Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import ROOT
from voidllm.http.polling import Outbox, install, quick_turn

_SCRIPT = """
import sys
from twisted.internet import reactor, endpoints, protocol
from twisted.logger import globalLogBeginner
from voidllm.http.polling import install

errors = []

def observe(event):
    if "failure" in event:
        errors.append(event["failure"].type.__name__)

globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
assert install(reactor)

class Server(protocol.Protocol):
    def dataReceived(self, data):
        if data == b"break":
            raise RuntimeError("on purpose")
        self.transport.write(data.upper())

class Client(protocol.Protocol):
    seen = b""
    def connectionMade(self):
        self.transport.write(b"hello")
    def dataReceived(self, data):
        self.seen += data
        if self.seen == b"HELLO":
            self.transport.write(b"break")
    def connectionLost(self, reason):
        print(self.seen.decode(), *errors)
        reactor.callLater(0, reactor.stop)

server = protocol.Factory.forProtocol(Server)
port = reactor.listenTCP(0, server, interface="127.0.0.1")
client = protocol.ClientFactory.forProtocol(Client)
reactor.connectTCP("127.0.0.1", port.getHost().port, client)
reactor.callFromThread(lambda: None)
reactor.run()
"""


class PollingTests(SynchronousTestCase):
    """The quicker turn does what the reactor's own does."""

    def test_data_and_errors(self) -> None:
        """Data flows both ways; a protocol's error is logged once and ends its connection only."""
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("HELLO RuntimeError\n", "", 0))

    def test_other_reactors(self) -> None:
        """Whatever is no epoll reactor is left alone."""
        self.assertFalse(install(Clock()))


class OutboxTests(SynchronousTestCase):
    """What waits for the end of a turn."""

    def setUp(self) -> None:
        self.outbox = Outbox()
        self.done: list[str] = []

    def note(self, what: str) -> Any:
        """Give something that notes that it was flushed."""
        return SimpleNamespace(flush=lambda: self.done.append(what))

    def test_order(self) -> None:
        """What goes first does, whenever it came; within each kind the order is kept."""
        self.outbox.add(self.note("reply 1"))
        self.outbox.add_first(self.note("row 1"))
        self.outbox.add(self.note("reply 2"))
        self.outbox.add_first(self.note("row 2"))
        self.outbox.flush()
        self.outbox.flush()
        self.assertEqual(self.done, ["row 1", "row 2", "reply 1", "reply 2"])

    def test_behind(self) -> None:
        """What follows on writes is done behind those that wait by then, and at once where none does."""
        self.outbox.add_behind(self.note("nothing waits"))
        self.outbox.add(self.note("reply 1"))
        self.outbox.add_behind(self.note("reply 1 left"))
        self.outbox.add(self.note("reply 2"))
        self.outbox.flush()
        self.assertEqual(self.done, ["nothing waits", "reply 1", "reply 1 left", "reply 2"])

    def test_added_meanwhile(self) -> None:
        """A row that a write leads to is written before the next write."""

        def leads_on() -> None:
            self.outbox.add_first(self.note("row"))
            self.outbox.add(self.note("reply 2"))

        self.outbox.add(SimpleNamespace(flush=leads_on))
        self.outbox.add(self.note("reply 1"))
        self.outbox.flush()
        self.assertEqual(self.done, ["row", "reply 1", "reply 2"])


def fake_reactor(poll: Callable[[float], list[tuple[int, int]]]) -> SimpleNamespace:
    """Give what a turn needs of a reactor that runs and has nothing else to do."""
    return SimpleNamespace(
        _doReadOrWrite=lambda *_: None,
        _justStopped=False,
        _newTimedCalls=[],
        _pendingTimedCalls=[],
        _poller=SimpleNamespace(poll=lambda timeout, most: poll(timeout)),
        _selectables={},
        running=True,
        seconds=lambda: 100.0,
        threadCallQueue=[],
    )


class TurnTests(SynchronousTestCase):
    """One turn with events of our choice."""

    def turn(self, *events: tuple[int, int], watched: tuple[int, ...] = ()) -> list[str]:
        """Do one turn in which every read leads to a row and to a reply; give what was done."""
        outbox = Outbox()
        done: list[str] = []

        def read_or_write(selectable: str, fd: int, event: int) -> None:
            if event & EPOLLIN:
                done.append(f"read {fd}")
                outbox.add_first(SimpleNamespace(flush=lambda: done.append(f"row {fd}")))
                outbox.add(SimpleNamespace(flush=lambda: done.append(f"reply {fd}")))
            if event & EPOLLOUT:
                done.append(f"write {fd}")
            if event & EPOLLHUP:
                done.append(f"end {fd}")
                del selectables[fd]

        selectables = {fd: f"socket {fd}" for fd in range(4)}
        reactor = fake_reactor(lambda timeout: list(events))
        reactor._selectables = selectables
        reactor._doReadOrWrite = read_or_write
        looks = {fd: partial(done.append, f"look {fd}") for fd in watched}
        quick_turn(reactor, outbox, looks)(0)
        return done

    def test_rows_before_replies(self) -> None:
        """The rows of all events are written before the replies."""
        self.assertEqual(
            self.turn((1, EPOLLIN), (2, EPOLLIN)),
            ["read 1", "read 2", "row 1", "row 2", "reply 1", "reply 2"],
        )

    def test_rows_before_buffered_writes(self) -> None:
        """What another transport has buffered leaves only after the rows of the events before it."""
        self.assertEqual(self.turn((1, EPOLLIN), (2, EPOLLOUT)), ["read 1", "row 1", "write 2", "reply 1"])

    def test_row_before_its_own_write(self) -> None:
        """A socket that is read from and written to has its row written in between."""
        self.assertEqual(self.turn((1, EPOLLIN | EPOLLOUT)), ["read 1", "row 1", "write 1", "reply 1"])

    def test_before_reading(self) -> None:
        """Who watches a socket is called just before each time that it is read, and at no other event."""
        done = self.turn((1, EPOLLIN), (2, EPOLLIN | EPOLLOUT), (3, EPOLLOUT), watched=(2, 3))
        self.assertEqual(done[:4], ["read 1", "look 2", "read 2", "row 1"])
        self.assertNotIn("look 3", done)

    def test_gone_meanwhile(self) -> None:
        """A socket that an event has ended is not written to."""
        self.assertEqual(
            self.turn((1, EPOLLIN | EPOLLOUT | EPOLLHUP), (1, EPOLLOUT)),
            ["read 1", "end 1", "row 1", "reply 1"],
        )


class NextTurnTests(SynchronousTestCase):
    """Turn follows turn until the reactor has something else to do."""

    def timeouts(self, act: Callable[[SimpleNamespace], None], first: float | None = None) -> list[float]:
        """Have ``act`` happen in the third turn; give how long each turn was ready to wait."""
        asked: list[float] = []

        def poll(timeout: float) -> list[tuple[int, int]]:
            asked.append(timeout)
            if len(asked) == 3:
                act(reactor)
            return []

        reactor = fake_reactor(poll)
        reactor._pendingTimedCalls.append(SimpleNamespace(time=107.0))
        quick_turn(reactor, Outbox(), {})(first)
        return asked

    def test_reasons(self) -> None:
        """A call from a thread, a new timer, one that is due, and the end are looked at at once."""

        def is_due(reactor: SimpleNamespace) -> None:
            reactor._pendingTimedCalls[0].time = 100.0

        reasons: list[Callable[[SimpleNamespace], None]] = [
            lambda reactor: reactor.threadCallQueue.append(1),
            lambda reactor: reactor._newTimedCalls.append(1),
            is_due,
            lambda reactor: setattr(reactor, "_justStopped", True),
            lambda reactor: setattr(reactor, "running", False),
        ]
        for reason in reasons:
            self.assertEqual(self.timeouts(reason), [-1, 7.0, 7.0])

    def test_no_waiting(self) -> None:
        """One turn is done for whoever does not want to wait."""
        self.assertEqual(self.timeouts(lambda reactor: None, 0), [0])

    def test_interrupted(self) -> None:
        """After a signal the reactor looks at what its handler has asked for."""

        def interrupt(reactor: SimpleNamespace) -> None:
            raise InterruptedError(errno.EINTR, "interrupted")

        self.assertEqual(len(self.timeouts(interrupt)), 3)
