"""A request body that is produced piece by piece, put on the wire in its framing."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer


@implementer(IConsumer)
class Upload:
    """Takes what an ``IBodyProducer`` writes and sends it, chunked or counted.

    :param moved: called whenever a piece was sent.
    :param failed: called once if the producer fails, or writes too much or too little; the
        connection is then of no more use.
    :ivar done: everything is on the wire, the last chunk included.
    """

    __slots__ = ("_chunked", "_failed", "_left", "_moved", "_over", "_producer", "_transport", "done")

    def __init__(
        self, producer: Any, transport: Any, moved: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._producer = producer
        self._transport = transport
        self._moved = moved
        self._failed = failed
        self._chunked = producer.length is UNKNOWN_LENGTH
        self._left = 0 if self._chunked else producer.length
        self._over = False
        self.done = False

    def start(self) -> None:
        """Begin; the transport pauses and resumes the producer from now on."""
        self._transport.registerProducer(self._producer, True)
        if self._over:
            return
        started = self._producer.startProducing(self)
        started.addCallbacks(self._produced, self._not_produced)

    def write(self, data: bytes) -> None:
        """Send a piece."""
        if self._over or not data:
            return
        if self._chunked:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._left -= len(data)
            if self._left < 0:
                self._break()
                return
            self._transport.write(data)
            if self._left == 0:
                # The producer may say so only later; the upstream can answer now.
                self.done = True
        self._moved()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Refuse: a body producer is registered already."""
        raise RuntimeError("an IBodyProducer does not register itself")

    def unregisterProducer(self) -> None:
        """Nothing was registered here."""

    def stop(self) -> None:
        """Give up: the connection is about to be closed."""
        if not self._over:
            self._over = True
            self._transport.unregisterProducer()
            self._producer.stopProducing()

    def lost(self) -> None:
        """The transport is gone, and has stopped the producer itself."""
        self._over = True

    def settle(self) -> None:
        """Let go of the transport: all is sent, only the producer has not said so yet."""
        if not self._over:
            self._over = True
            self._transport.unregisterProducer()

    def _produced(self, _: object) -> None:
        if self._over:
            return
        self._over = True
        self._transport.unregisterProducer()
        if self._left > 0:
            self._failed()
            return
        self.done = True
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._moved()

    def _not_produced(self, _: Failure) -> None:
        # The reason may hold a piece of the body: it is dropped here on purpose.
        if not self._over:
            self._over = True
            self._transport.unregisterProducer()
            self._failed()

    def _break(self) -> None:
        self.stop()
        self._failed()
