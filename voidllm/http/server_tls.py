"""The TLS context of the listener (``server.proxy.tls``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL.crypto import X509, PKey
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from voidllm.core.errors import StateError


def read_pair(cert_path: str, key_path: str) -> tuple[bytes, bytes]:
    """Read the files of a certificate chain and its key.

    :raises OSError: when a file cannot be read.
    """
    return Path(cert_path).read_bytes(), Path(key_path).read_bytes()


def server_context_factory(cert_path: str, key_path: str) -> CertificateOptions:
    """Read a certificate chain and its key, and make a context factory for ``listenSSL``.

    :param cert_path: PEM file, see :func:`context_factory`.
    :param key_path: PEM file, see :func:`context_factory`.
    :raises OSError: when a file cannot be read.
    :raises StateError: when a file is not what it should be, or the two do not belong together.
    """
    return context_factory(*read_pair(cert_path, key_path))


def context_factory(cert_pem: bytes, key_pem: bytes) -> CertificateOptions:
    """Make a context factory for ``listenSSL``.

    TLS 1.2 or newer; ALPN offers ``http/1.1`` alone.

    :param cert_pem: the server's own certificate first, then its chain.
    :param key_pem: the unencrypted private key.
    :raises StateError: when one is not what it should be, or the two do not belong together.
    """
    try:
        chain = x509.load_pem_x509_certificates(cert_pem)
    except ValueError:
        raise StateError("the TLS certificate file is not a PEM certificate chain") from None
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise StateError("the TLS key file is not an unencrypted PEM private key") from None
    if key.public_key() != chain[0].public_key():
        raise StateError("the TLS key does not belong to the first certificate of the chain")
    own, *rest = [X509.from_cryptography(certificate) for certificate in chain]
    return CertificateOptions(
        privateKey=PKey.from_cryptography_key(key),  # type: ignore[arg-type]
        certificate=own,
        extraCertChain=rest,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )


class ServerTLS(TLSMemoryBIOProtocol):
    """Closes when it has said so.

    Twisted's waits for the client to say the same, and a client that keeps an idle connection in a
    pool says nothing until it needs it: each would hold up the end of the gateway for the whole of
    its patience. RFC 8446, section 6.1, lets either side close its half at once.
    """

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()  # type: ignore[no-untyped-call]
        transport: Any = self.transport
        transport.loseConnection()


def secured(factory: Any, context: CertificateOptions) -> TLSMemoryBIOFactory:
    """Put TLS before the protocols of a server's factory."""
    made = TLSMemoryBIOFactory(context, False, factory)  # type: ignore[no-untyped-call]
    made.protocol = ServerTLS
    return made
