"""One end of the line between control plane and worker."""

from __future__ import annotations

import socket
from typing import Any, Callable

from msgspec import MsgspecError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.interfaces import ILink
from voidllm.link.framing import Frames, FrameTooLong, frame
from voidllm.link.messages import encode

_log = Logger()


@implementer(ILink, IPushProducer)
class Link(Protocol):
    """Sends messages, and hands on those that arrive.

    :param decode: turns bytes into a message; see :mod:`voidllm.link.messages`.
    :param got: called with each message.
    :param lost: called once when the other side is gone.
    :param most: longest message that is accepted, in bytes.
    :ivar open: whether the other side is there.
    :ivar clogged: whether the other side does not read what it is sent.
    """

    transport: Any

    def __init__(
        self,
        decode: Callable[[bytes], Any],
        got: Callable[[Any], None],
        lost: Callable[[], None],
        most: int,
        flowing: Callable[[], None] = lambda: None,
    ) -> None:
        self.open = False
        self.clogged = False
        self._decode = decode
        self._got = got
        self._lost = lost
        self._flowing = flowing
        self._frames = Frames(most)

    def connectionMade(self) -> None:
        """Begin."""
        self.open = True
        self.transport.registerProducer(self, True)

    def send(self, message: Any) -> None:
        """Send a message; nothing happens when the other side is gone."""
        self.send_encoded(frame(encode(message)))

    def send_encoded(self, data: bytes) -> None:
        """Send what :func:`~voidllm.link.framing.frame` made, perhaps for several others too."""
        if self.open:
            self.transport.write(data)

    def close(self) -> None:
        """Hang up once everything has been sent."""
        if self.open:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes of messages."""
        try:
            for message in self._frames.feed(data):
                self._got(self._decode(message))
        except (FrameTooLong, MsgspecError) as error:
            # Another version, or memory gone mad; the text could hold what was sent.
            _log.error("a message between processes cannot be read: {kind}", kind=type(error).__name__)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other side is gone."""
        self.open = False
        self._lost()

    def pauseProducing(self) -> None:
        """The other side does not read."""
        self.clogged = True

    def resumeProducing(self) -> None:
        """It has read everything."""
        self.clogged = False
        self._flowing()

    def stopProducing(self) -> None:
        """See :meth:`connectionLost`, which follows."""


def connect(reactor: Any, end: socket.socket, link: Link) -> None:
    """Put ``link`` on a connected Unix socket, which is closed with it, and here at any rate."""

    class One(Factory):
        noisy = False

        def buildProtocol(self, addr: Any) -> Link:
            return link

    with end:
        # The reactor works on a duplicate of its own.
        reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, One())
