"""The parent's side of the relay: connections that workers hand over, for a factory here."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.link.relay_frames import REFUSED, FramingSocket
from voidllm.link.relay_transport import RelayedConnection, SecureRelayedConnection
from voidllm.link.relay_wire import ChannelClosed, Handed, Malformed, address, take

_log = Logger()
#: Connections taken in one turn of the reactor.
_AT_ONCE = 64
MAX_CONNECTIONS = 2048

_MALFORMED = "a worker sent something on the relay channel that is no connection"


@implementer(IReadDescriptor)
class RelayListener:
    """Takes connections from one worker's channel.

    When the worker ends, its channel and its connections end with it; when only the channel ends,
    connections that were taken live on.

    :param reactor: an ``IReactorFDSet``.
    :param channel_fd: the parent's end of :func:`~voidllm.link.relay_wire.relay_channel`; owned from now on.
    :param factory: gets every connection as if it had accepted it itself.
    :param max_connections: open ones of this worker; others are refused.
    :ivar connections: the open ones.
    """

    def __init__(
        self, reactor: Any, channel_fd: int, factory: Any, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self._reactor = reactor
        self._channel: socket.socket | None = socket.socket(fileno=channel_fd)
        self._channel.setblocking(False)
        self._channel.set_inheritable(False)
        self._factory = factory
        self._max = max_connections
        self._told: set[str] = set()
        self.connections: set[RelayedConnection] = set()

    def start(self) -> None:
        """Begin to take connections."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Take no more connections; those that are open stay so."""
        if self._channel is not None:
            self._reactor.removeReader(self)
            self._channel.close()
            self._channel = None
            self._factory.doStop()

    # -- the reactor's side

    def fileno(self) -> int:
        """Give the channel's descriptor."""
        return -1 if self._channel is None else self._channel.fileno()

    def logPrefix(self) -> str:
        """Name what is read from."""
        return "relay"

    def doRead(self) -> Any:
        """Take what waits."""
        for _ in range(_AT_ONCE):
            if self._channel is None:
                return None
            try:
                handed, stream = take(self._channel)
            except BlockingIOError:
                return None
            except Malformed:
                self._tell("malformed", _MALFORMED)
            except ChannelClosed:
                return main.CONNECTION_DONE
            except OSError:
                return main.CONNECTION_LOST
            else:
                self._take(handed, stream)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The worker is gone, or has done with the channel."""
        self.stop()

    # -- connections

    def _take(self, handed: Handed, stream: FramingSocket) -> None:
        if len(self.connections) >= self._max:
            self._tell("full", "a worker relays more connections than are allowed; clients get 503")
            self._refuse(stream)
            return
        try:
            peer = address(handed.peer_host, handed.peer_port)
            host = address(handed.host, handed.port)
        except Malformed:
            stream.close()
            self._tell("malformed", _MALFORMED)
            return
        protocol = None
        try:
            protocol = self._factory.buildProtocol(peer)
        except Exception as error:
            # Of one connection; the channel is everybody's.
            _log.error("a relayed connection got no protocol: {kind}", kind=type(error).__qualname__)
        if protocol is None:
            self._refuse(stream)
            return
        kind = SecureRelayedConnection if handed.secure else RelayedConnection
        transport = kind(stream, protocol, peer, host, self._reactor, self.connections.discard)
        self.connections.add(transport)
        try:
            protocol.makeConnection(transport)
        except Exception as error:
            _log.error("a relayed connection failed to start: {kind}", kind=type(error).__qualname__)
            transport.abortConnection()

    def _refuse(self, stream: FramingSocket) -> None:
        try:
            stream.mark(REFUSED)
        except OSError:
            pass  # gone already
        stream.close()

    def _tell(self, what: str, text: str) -> None:
        """Log a worker's fault the first time."""
        if what not in self._told:
            self._told.add(what)
            _log.warn("{text}", text=text)
