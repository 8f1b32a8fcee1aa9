"""TLS towards upstreams: who is trusted, who is asked for, and sessions used again."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from voidllm.core.model import UpstreamTLS
from voidllm.http.request_head import ascii_host, bare_host
from voidllm.http.resolve import is_address

_MAX_CONTEXTS = 256


class TLSFilesError(Exception):
    """A certificate or key file cannot be read or used."""


def make_context(tls: UpstreamTLS) -> SSL.Context:
    """Load the files and build a context that verifies the chain; blocks on the disk.

    :raises TLSFilesError: naming the setting at fault, never what is in the file.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # Idle connections far outnumber busy ones; OpenSSL may free their buffers (34 KiB each).
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_alpn_protos([b"http/1.1"])
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        if tls.ca_file is None:
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(tls.ca_file)
    except SSL.Error:
        raise TLSFilesError("ca_file cannot be used") from None
    if tls.client_cert is not None:
        try:
            context.use_certificate_chain_file(tls.client_cert)
            context.use_privatekey_file(tls.client_key or tls.client_cert)
            context.check_privatekey()
        except SSL.Error:
            raise TLSFilesError("client_cert and client_key cannot be used") from None
    return context


class TLSContexts:
    """One context for each distinct :class:`~voidllm.core.model.UpstreamTLS`."""

    def __init__(self) -> None:
        self._made: dict[UpstreamTLS, SSL.Context] = {}

    def get(self, tls: UpstreamTLS) -> SSL.Context | None:
        """Give the context if it has been loaded."""
        return self._made.get(tls)

    def load(self, tls: UpstreamTLS) -> SSL.Context:
        """Give the context, making it if need be; blocks, so call it in a thread.

        :raises TLSFilesError: if its files cannot be used.
        """
        context = self._made.get(tls)
        if context is None:
            context = make_context(tls)
            if len(self._made) >= _MAX_CONTEXTS:
                self._made.clear()
            self._made[tls] = context
        return context

    def forget(self) -> None:
        """Read all files anew for new connections; the old ones may have been replaced."""
        self._made.clear()


class TLSPeer:
    """One origin as a TLS server: its name, and the last session with it."""

    __slots__ = ("_context", "_host", "_is_address", "_session")

    def __init__(self, host: str) -> None:
        host = bare_host(host)
        self._is_address = is_address(host)
        self._host = ascii_host(host)
        self._session: SSL.Session | None = None
        self._context: SSL.Context | None = None

    def connection(self, context: SSL.Context) -> SSL.Connection:
        """Make the OpenSSL object for a new connection, offering the last session."""
        connection = SSL.Connection(context, None)
        if not self._is_address:
            # RFC 6066, section 3: addresses are not permitted as a server name.
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        if self._session is not None and self._context is context:
            # Never a session that other authorities have vouched for.
            connection.set_session(self._session)
        return connection

    def is_right(self, connection: SSL.Connection) -> bool:
        """Say whether the certificate shown, whose chain is good, is for this host."""
        try:
            if self._is_address:
                verify_ip_address(connection, self._host)
            else:
                verify_hostname(connection, self._host)
        except (VerificationError, CertificateError):
            return False
        return True

    def remember(self, connection: SSL.Connection | None) -> None:
        """Keep the session of a connection that has worked, for the next one."""
        if connection is not None:
            self._session = connection.get_session() or self._session
            self._context = connection.get_context()

    def forget_session(self) -> None:
        """Begin the next connection with a full handshake."""
        self._session = None


@implementer(IOpenSSLClientConnectionCreator)
class Creator:
    """Gives Twisted the OpenSSL object for one connection."""

    def __init__(self, peer: TLSPeer, context: SSL.Context) -> None:
        self._peer = peer
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Any:
        """Make it."""
        return self._peer.connection(self._context)
