"""The two ends of a relayed connection's socketpair, as Twisted's transports."""

from __future__ import annotations

import socket
from typing import Any, Callable

from twisted.internet import main, tcp
from twisted.internet.interfaces import IProtocol, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.link.relay_frames import END, FramingSocket
from voidllm.link.relay_wire import Address

# Its classes are partly without types; as Any they can be called at all.
_Server: Any = tcp.Server


class _StreamEnd(_Server):  # type: ignore[misc]
    """A server's transport on a connected ``AF_UNIX`` stream instead of one of TCP."""

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: Any) -> None:
        super().__init__(sock, protocol, ("", 0), None, 0, reactor)
        self.repstr = self.logstr = f"<{type(self).__name__} of {type(protocol).__name__}>"

    def getTcpNoDelay(self) -> bool:
        """Nothing is delayed on such sockets."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Leave it as it is: these sockets have no such option."""


class NearEnd(_StreamEnd):
    """The worker's end."""

    def connectionLost(self, reason: Failure) -> None:
        """Give what the parent sent before it closed, then close.

        A write may have failed first, or the end have shown while nothing was read.
        """
        while hasattr(self, "socket"):
            try:
                data = self.socket.recv(self.bufferSize)
            except OSError:
                break
            if not data:
                break
            self.protocol.dataReceived(data)
        super().connectionLost(reason)


class RelayedConnection(_StreamEnd):
    """The parent's end; the addresses are those of the client's own connection.

    Closing it says so to the worker; everything else that ends it is a cut there.

    :param sock: made of a connected ``AF_UNIX`` stream.
    :param lost: called with this transport once it is closed.
    """

    socket: FramingSocket

    def __init__(
        self,
        sock: FramingSocket,
        protocol: IProtocol,
        peer: Address,
        host: Address,
        reactor: Any,
        lost: Callable[[RelayedConnection], None],
    ) -> None:
        self._peer = peer
        self._host = host
        self._lost = lost
        super().__init__(sock, protocol, reactor)

    def getPeer(self) -> Any:
        """Give the client's address."""
        return self._peer

    def getHost(self) -> Any:
        """Give the address that the client connected to."""
        return self._host

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and say so."""
        super().connectionLost(reason)
        self._lost(self)

    def _postLoseConnection(self) -> Any:
        """Close, everything being written, once the worker has been told that it was."""
        try:
            if self.socket.mark(END):
                return main.CONNECTION_DONE
        except OSError:
            return main.CONNECTION_LOST
        self.startWriting()
        return None

    def _closeWriteConnection(self) -> Any:
        """Tell the worker that nothing follows; the stream itself stays open both ways."""
        try:
            if self.socket.mark(END):
                return None
        except OSError:
            return main.CONNECTION_LOST
        # Not yet: ``doWrite`` comes here again.
        self._writeDisconnected = False
        self.startWriting()
        return None


@implementer(ISSLTransport)
class SecureRelayedConnection(RelayedConnection):
    """The same for a client that speaks TLS with the worker."""

    #: As little is known here of what was agreed on as of the certificate; workers offer HTTP/1.1 alone.
    negotiatedProtocol = None

    def getPeerCertificate(self) -> None:
        """No client shows one."""
        return None
