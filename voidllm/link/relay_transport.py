"""A client's connection as the parent sees it: the stream is a worker's, the addresses are the client's."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet import main, tcp
from twisted.internet.interfaces import IProtocol, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.link.relay_frames import END, FramingSocket
from voidllm.link.relay_wire import Address

# Its classes are partly without types; as Any they can be called at all.
_Server: Any = tcp.Server


class RelayedConnection(_Server):  # type: ignore[misc]
    """Twisted's server-side transport on one end of a worker's socketpair.

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
        super().__init__(sock, protocol, ("", 0), None, 0, reactor)
        self.repstr = self.logstr = f"<{type(self).__name__} of {type(protocol).__name__}>"

    def getPeer(self) -> Any:
        """Give the client's address."""
        return self._peer

    def getHost(self) -> Any:
        """Give the address that the client connected to."""
        return self._host

    def getTcpNoDelay(self) -> bool:
        """Nothing is delayed on such sockets."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Leave it as it is: these sockets have no such option."""

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
