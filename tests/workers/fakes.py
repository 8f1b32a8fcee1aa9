"""A reactor whose processes and lines are in memory, for the control plane's decisions."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from voidllm.link import messages
from voidllm.link.framing import Frames, frame
from voidllm.link.listener import bind_reuseport


@define(eq=False)
class FakeWorker:
    """A process that a test speaks for.

    :ivar got: messages that it was sent and has read.
    :ivar reading: whether it reads.
    """

    protocol: Any
    link: Any
    transport: StringTransport
    pid: int | None
    fds: dict[int, int]
    arguments: list[str]
    environment: dict[str, str]
    signals: list[str] = field(factory=list)
    _frames: Frames = field(factory=lambda: Frames(1 << 30))

    def got(self) -> list[Any]:
        """Give what it was sent since it was asked for the last time."""
        data = self.transport.value()
        self.transport.clear()
        return [messages.decode_to_worker(one) for one in self._frames.feed(data)]

    def says(self, *told: Any) -> None:
        """Send to the control plane."""
        for message in told:
            self.link.dataReceived(frame(messages.encode(message)))

    def signalProcess(self, name: str) -> None:
        """Be killed; the end comes when the test says so."""
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)

    def ends(self, signal: int | None = None, status: int = 0) -> None:
        """End."""
        self.pid = None
        self.link.connectionLost(Failure(ConnectionResetError()))
        reason: Exception
        if signal is None and status == 0:
            reason = ProcessDone(0)
        else:
            reason = ProcessTerminated(exitCode=None if signal else status, signal=signal)
        self.protocol.processEnded(Failure(reason))


class FakeReactor(Clock):
    """Starts :class:`FakeWorker`; time is the test's.

    :ivar workers: all that were started.
    :ivar full: whether there is no room for another process.
    :ivar deadly: whether a process ends before its starter returns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[FakeWorker] = []
        self.full = False
        self.deadly = False
        self.readers: set[Any] = set()
        self._adopted: list[Any] = []

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        """Put a protocol on a line in memory."""
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection
        protocol.makeConnection(transport)
        self._adopted.append((protocol, transport))

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any, childFDs: Any) -> Any:
        """Start a process, if there is room."""
        link, transport = self._adopted.pop()
        if self.full:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        worker = FakeWorker(
            protocol, link, transport, 1000 + len(self.workers), dict(childFDs), list(args), dict(env)
        )
        self.workers.append(worker)
        if self.deadly:
            worker.ends(9)
        return worker

    def addReader(self, reader: Any) -> None:
        """Watch a relay's channel."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """Watch it no longer."""
        self.readers.discard(reader)


def bind(count: int) -> list[socket.socket]:
    """Listen on a free port of loopback."""
    return bind_reuseport("127.0.0.1", 0, 16, count)
