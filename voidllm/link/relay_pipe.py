"""One client's connection in a worker, joined to the parent's end of a socketpair.

Bytes go both ways as they come, and no further than the slower side takes them. The ends are
told apart: a client that leaves, in whatever way, is gone for the parent too; a reply that the
parent ended is ended for the client; a reply that was cut is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.link.relay_frames import END, REFUSED, Unframer

if TYPE_CHECKING:
    from voidllm.link.relay import RelayFactory


@implementer(IPushProducer)
class RelayedClient(Protocol):
    """The client's side; takes over a transport at a message boundary.

    Provides :class:`voidllm.http.population.Member`'s methods.
    """

    def __init__(self, relay: RelayFactory) -> None:
        self._relay = relay
        self._frames = Unframer()
        self._near: Any = None
        self._timer: Any = None
        self._waiting = 0
        self._begun = self._head_only = False
        self._refusing = self._lost = False

    # -- the client

    def connectionMade(self) -> None:
        """Join the connection to a new one of the parent's, or say that there is none."""
        transport: Any = self.transport
        self._relay.population.connections.add(self)
        secure = ISSLTransport.providedBy(transport)
        self._half_closes = ITCPTransport.providedBy(transport) and not secure
        try:
            self._near = self._relay.join(transport, secure, _NearProtocol(self))
        except OSError:
            self._refuse()
            return
        transport.registerProducer(self, True)
        self._near.registerProducer(_Source(transport), True)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what the client sends."""
        if not self._begun:
            self._begun = True
            self._head_only = data.lstrip(b"\r\n").startswith(b"HEAD ")
            if self._refusing:
                self._answer()
        if self._near is not None:
            self._near.write(data)

    def pauseProducing(self) -> None:
        """The client reads too slowly."""
        if self._near is not None:
            self._near.pauseProducing()
            self._time_progress()

    def resumeProducing(self) -> None:
        """The client has read everything."""
        self._disarm()
        if self._near is not None:
            self._near.resumeProducing()

    def stopProducing(self) -> None:
        """See :meth:`connectionLost`, which follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone: the parent gets what it sent, then the end."""
        self._lost = True
        self._disarm()
        self._relay.population.remove(self)
        if self._near is not None:
            self._near.unregisterProducer()
            self._near.loseConnection()
            self._arm(self._relay.settings.flush_s, self._near.abortConnection)

    # -- the population

    def drain(self) -> None:
        """Leave it to the parent, which knows whether a reply is running."""

    def abort(self) -> None:
        """Drop the connection at once."""
        near, self._near = self._near, None
        if near is not None:
            near.abortConnection()
        self._cut()

    # -- the parent

    def near_received(self, data: bytes) -> None:
        """Pass on what the parent sends."""
        frames = self._frames
        if frames.mark is not None or self._lost or self._near is None:
            return
        payload = frames.feed(data)
        transport: Any = self.transport
        if payload:
            transport.write(payload)
        if frames.mark == END:
            # What is written still reaches the client; only the parent's own end is awaited.
            transport.unregisterProducer()
            self._near.resumeProducing()
            self._time_progress()
            if self._half_closes:
                transport.loseWriteConnection()

    def near_lost(self) -> None:
        """The parent has closed its end, or is gone."""
        if self._near is None:
            return
        self._disarm()
        self._near = None
        if self._lost:
            return
        frames = self._frames
        if frames.mark == END:
            self._close()
        elif frames.mark == REFUSED or (not frames.begun and self._relay.is_cut_off()):
            self._refuse()
        else:
            self._cut()

    # -- ends

    def _refuse(self) -> None:
        """Answer in the parent's place, and throw away what still comes, for a while."""
        transport: Any = self.transport
        transport.unregisterProducer()
        self._refusing = True
        transport.resumeProducing()
        self._arm(self._relay.settings.linger_s, self._close)
        if self._begun:
            self._answer()

    def _answer(self) -> None:
        transport: Any = self.transport
        head, blank, body = self._relay.unavailable().partition(b"\r\n\r\n")
        transport.write(head + blank if self._head_only else head + blank + body)
        if self._half_closes:
            transport.loseWriteConnection()

    def _close(self) -> None:
        """Close once everything is written, or is not taken."""
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()
        if not self._lost:
            self._time_progress()

    def _cut(self) -> None:
        transport: Any = self.transport
        self._disarm()
        if not self._lost:
            transport.unregisterProducer()
            transport.abortConnection()

    # -- time

    def _time_progress(self) -> None:
        """Cut the client off if it takes nothing for too long."""
        self._waiting = _unsent(self.transport)
        self._arm(self._relay.settings.write_timeout_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if _unsent(self.transport) < self._waiting:
            self._time_progress()
        else:
            self.abort()

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._relay.reactor.callLater(seconds, act)

    def _disarm(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


class _NearProtocol(Protocol):
    """Of the worker's end of the pair."""

    def __init__(self, client: RelayedClient) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        """Take what the parent sends."""
        self._client.near_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The pair is closed."""
        self._client.near_lost()


@implementer(IPushProducer)
class _Source:
    """A transport as the source of what is written to another one, whose end is not its own."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def pauseProducing(self) -> None:
        """Read no more."""
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other one is closed; its protocol is told, and knows what that means here."""


def _unsent(transport: Any) -> int:
    """Count the bytes in a transport's buffer, which Twisted has no public way to ask for."""
    try:
        return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # type: ignore[no-any-return]
    except (AttributeError, TypeError):
        return 0
