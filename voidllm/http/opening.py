"""Open one connection: name, TCP, CONNECT, TLS, each step cancellable.

Timeouts are the caller's: it cancels.
"""

from __future__ import annotations

from typing import Any, Callable

from OpenSSL import SSL
from twisted.internet.error import TimeoutError as TCPTimedOut
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.world import World
from voidllm.http.client_tls import Creator, TLSContexts, TLSFilesError, TLSPeer
from voidllm.http.request_head import bare_host
from voidllm.http.resolve import Resolver
from voidllm.http.tunnel import ProxyRefused, Tunnel, proxy_address
from voidllm.http.upstream import Origin


class OpenedTransport:
    """What an opening ends with.

    :ivar transport: what the application writes to; TLS if the origin has it.
    :ivar raw: the TCP transport below.
    """

    __slots__ = ("raw", "transport")

    def __init__(self, transport: Any, raw: Any) -> None:
        self.transport = transport
        self.raw = raw

    def attach(self, protocol: Protocol) -> None:
        """Give the connection to ``protocol``, from now on."""
        if self.transport is self.raw:
            self.raw.protocol = protocol
        else:
            self.transport.wrappedProtocol = protocol
        protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]


class Opener:
    """Opens connections to one origin."""

    def __init__(self, world: World, origin: Origin, resolver: Resolver, contexts: TLSContexts) -> None:
        self.world = world
        self.origin = origin
        self.resolver = resolver
        self.contexts = contexts
        self.peer = TLSPeer(origin.host) if origin.scheme == "https" else None
        self.proxied = origin.proxy_url is not None
        if origin.proxy_url is not None:
            self.host, self.port = proxy_address(origin.proxy_url)
        else:
            self.host, self.port = bare_host(origin.host), origin.port

    def tunnel(self) -> Tunnel | None:
        """Give the dialogue that leads through the proxy, if there must be one."""
        origin = self.origin
        if origin.proxy_url is None or origin.scheme != "https":
            return None
        return Tunnel(origin.proxy_url, origin.host, origin.port)


class Opening:
    """One connection being opened.

    :param timeout_s: of all; divided among the addresses.
    :param done: gets an :class:`OpenedTransport`; its protocol is then the caller's affair.
    :param failed: gets a kind of :data:`~voidllm.http.upstream.FAILURE_KINDS` and a detail.
    :param gone: called once for each TCP connection that was made and is lost before ``done``.
    :param made: called once for each TCP connection that was made.
    """

    def __init__(
        self,
        opener: Opener,
        timeout_s: float,
        done: Callable[[OpenedTransport], None],
        failed: Callable[[str, str], None],
        made: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        self._opener = opener
        self._timeout_s = timeout_s
        self._done = done
        self._failed = failed
        self.made = made
        self.gone = gone
        self._over = False
        self._addresses: list[str] = []
        self._forget: Callable[[], None] | None = None
        self._connector: Any = None
        self._attempt: _Attempt | None = None
        self._raw: Any = None
        self._tunnel: Tunnel | None = None
        self._context: SSL.Context | None = None

    def start(self) -> None:
        """Begin. Neither ``done`` nor ``failed`` is called before this returns, in a real world."""
        opener = self._opener
        if opener.peer is not None:
            self._context = opener.contexts.get(opener.origin.tls)
            if self._context is None:
                loading = opener.world.in_thread(opener.contexts.load, opener.origin.tls)
                loading.addCallbacks(self._loaded, self._not_loaded)
                return
        self._resolve()

    def cancel(self) -> None:
        """Stop at any step; nothing else is called but ``gone``."""
        self._end()
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()
        raw, self._raw = self._raw, None
        connector, self._connector = self._connector, None
        if raw is not None:
            raw.abortConnection()
        elif connector is not None:
            connector.stopConnecting()

    def fail(self, kind: str, detail: str) -> None:
        """Give up."""
        if not self._over:
            failed = self._failed
            self.cancel()
            failed(kind, detail)

    def _loaded(self, context: SSL.Context) -> None:
        if not self._over:
            self._context = context
            self._resolve()

    def _not_loaded(self, reason: Failure) -> None:
        self.fail("tls", str(reason.value) if reason.check(TLSFilesError) else "")  # type: ignore[no-untyped-call]
        # Whatever else it was is a fault of ours, and must be seen.
        reason.trap(TLSFilesError)  # type: ignore[no-untyped-call]

    def _resolve(self) -> None:
        forget = self._opener.resolver.resolve(self._opener.host, self._resolved, self._unresolved)
        if not self._addresses:
            self._forget = forget

    def _unresolved(self) -> None:
        if self._opener.proxied:
            self.fail("proxy", "the proxy's name was not found")
        else:
            self.fail("dns", "the name was not found")

    def _resolved(self, addresses: list[str]) -> None:
        self._forget = None
        if not self._over:
            self._addresses = list(addresses)
            self._timeout_s = max(self._timeout_s / len(addresses), 0.1)
            self._connect()

    def _connect(self) -> None:
        self._attempt = attempt = _Attempt(self)
        self._connector = self._opener.world.reactor.connectTCP(
            self._addresses.pop(0), self._opener.port, attempt, timeout=self._timeout_s
        )

    def attempt_failed(self, reason: Failure) -> None:
        """Try the next address, if there is one."""
        self._connector = None
        if self._over:
            return
        if self._addresses:
            self._connect()
        elif self._opener.proxied:
            self.fail("proxy", "the proxy cannot be reached")
        elif reason.check(TCPTimedOut):  # type: ignore[no-untyped-call]
            self.fail("connect_timeout", "")
        else:
            self.fail("refused", "")

    def connected(self, raw: Any) -> None:
        """Continue on an established TCP connection."""
        self._connector = None
        if self._over:
            raw.abortConnection()
            return
        self._raw = raw
        raw.setTcpNoDelay(True)
        # Keep-alive probes find an upstream that vanished while it was thinking.
        raw.setTcpKeepAlive(True)
        self._tunnel = self._opener.tunnel()
        if self._tunnel is not None:
            raw.write(self._tunnel.request)
        else:
            self._secure()

    def data(self, data: bytes) -> None:
        """Take what comes before TLS: the proxy's answer, else nothing may come."""
        if self._over or self._tunnel is None:
            self.fail("malformed", "the upstream spoke before it was asked")
            return
        try:
            opened = self._tunnel.feed(data)
        except ProxyRefused:
            self.fail("proxy", "the proxy did not open a tunnel")
            return
        if opened:
            self._tunnel = None
            self._secure()

    def lost(self, reason: Failure) -> None:
        """Report a connection that was lost on the way."""
        self._raw = None
        self.gone()
        if self._tunnel is not None:
            self.fail("proxy", "the proxy closed the connection")
        elif self._context is not None:
            self.fail("tls", "the handshake failed")
        else:
            self.fail("refused", "")

    def _secure(self) -> None:
        raw, peer, context = self._raw, self._opener.peer, self._context
        if peer is None or context is None:
            self._finish(OpenedTransport(raw, raw))
            return
        factory = TLSMemoryBIOFactory(Creator(peer, context), True, Factory(), self._opener.world.reactor)
        # Without Twisted's write aggregation, which would delay each request by a reactor turn.
        tls: Any = TLSMemoryBIOProtocol(factory, _Handshake(self))  # type: ignore[no-untyped-call]
        raw.protocol = tls
        tls.makeConnection(raw)

    def handshaken(self, tls: TLSMemoryBIOProtocol) -> None:
        """Check whose certificate it is before the first byte of a request is sent."""
        if self._over:
            return
        peer = self._opener.peer
        assert peer is not None
        if peer.is_right(tls.getHandle()):  # type: ignore[no-untyped-call]
            self._finish(OpenedTransport(tls, self._raw))
        else:
            peer.forget_session()
            self.fail("tls", "the certificate is for another host")

    def _finish(self, opened: OpenedTransport) -> None:
        done = self._done
        self._end()
        self._raw = None
        # The connector stays as long as the connection; nothing else of this attempt needs to.
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.opening = None
        done(opened)

    def _end(self) -> None:
        # Somebody may keep this object longer than it is of use: it must not keep a request.
        self._over = True
        self._done = self._failed = _nothing


def _nothing(*_: Any) -> None:
    pass


class _Attempt(ClientFactory):
    """One TCP connection attempt."""

    noisy = False

    def __init__(self, opening: Opening) -> None:
        self.opening: Opening | None = opening

    def buildProtocol(self, addr: Any) -> Protocol | None:
        return _Raw(self.opening) if self.opening is not None else None

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        if self.opening is not None:
            self.opening.attempt_failed(reason)


class _Raw(Protocol):
    """Holds a TCP connection until TLS or the application takes it."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def connectionMade(self) -> None:
        self._opening.made()
        self._opening.connected(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._opening.data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._opening.lost(reason)


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Waits for the end of the TLS handshake."""

    transport: Any

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def handshakeCompleted(self) -> None:
        self._opening.handshaken(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._opening.data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._opening.lost(reason)
