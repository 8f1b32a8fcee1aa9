"""The front under TLS, with a chain of certificates made for the test."""

from __future__ import annotations

import datetime
import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.SSL import Context, Error, TLSv1_1_METHOD
from twisted.internet.endpoints import SSL4ClientEndpoint, connectProtocol
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import (
    CertificateOptions,
    ClientContextFactory,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.trial.unittest import TestCase

from tests.http.wire import Echo, RawClient, get, post, real_world
from voidllm.core.errors import StateError
from voidllm.http.front import FrontFactory
from voidllm.http.server_tls import server_context_factory


def make_certificates(folder: str) -> tuple[str, str, bytes]:
    """Write a chain (server, intermediate) and a key; give their paths and the root's PEM."""
    start = datetime.datetime(2020, 1, 1)
    end = datetime.datetime(2100, 1, 1)

    def sign(name: str, issuer: str, key: Any, by: Any, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("gateway.test")]), critical=False)
        )
        return builder.sign(by, hashes.SHA256())

    root_key, middle_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = sign("root", "root", root_key, root_key, True)
    middle = sign("middle", "root", middle_key, root_key, True)
    own = sign("gateway.test", "middle", own_key, middle_key, False)
    pem = serialization.Encoding.PEM
    os.makedirs(folder)
    cert_path, key_path = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    with open(cert_path, "wb") as file:
        file.write(own.public_bytes(pem) + middle.public_bytes(pem))
    with open(key_path, "wb") as file:
        file.write(
            own_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
    return cert_path, key_path, root.public_bytes(pem)


class OldClient(ClientContextFactory):  # type: ignore[misc]
    """Speaks nothing newer than TLS 1.1."""

    def getContext(self) -> Context:
        """Make the context."""
        return Context(TLSv1_1_METHOD)


class FrontTLS(TestCase):
    """A TLS listener."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.folder = self.mktemp()
        cert, key, self.root = make_certificates(self.folder)
        self.handler = Echo()
        self.factory = FrontFactory(real_world(reactor), self.handler)
        context = server_context_factory(cert, key)
        self.port = reactor.listenSSL(0, self.factory, context, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def client(self) -> RawClient:
        """Connect with full verification of the chain."""
        trust = trustRootFromCertificates([TwistedCertificate.loadPEM(self.root)])
        options = optionsForClientTLS("gateway.test", trust, acceptableProtocols=[b"h2", b"http/1.1"])
        endpoint = SSL4ClientEndpoint(self.reactor, "127.0.0.1", self.port.getHost().port, options, timeout=5)
        return await connectProtocol(endpoint, RawClient())

    async def test_requests(self) -> None:
        """Requests work under TLS, HTTP/1.1 is agreed on, and close ends the connection."""
        client = await self.client()
        client.transport.write(post(b"/v1/a", b"hello") + post(b"/v1/stream", b"streaming"))
        first, second = await client.get(2)
        assert b'"hello"' in first.body
        assert second.body == b"streaming"
        assert client.transport.negotiatedProtocol == b"http/1.1"
        client.transport.write(get(b"/v1/a", b"Connection: close"))
        (last,) = await client.all()
        assert last.status == 200
        await self.factory_is_empty()

    async def test_refusal_is_readable(self) -> None:
        """An early refusal reaches a client that is still sending, then the connection ends."""
        client = await self.client()
        client.transport.write(b"POST /v1/head HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
        client.transport.write(b"x" * 3_000_000)
        (reply,) = await client.get()
        assert reply.status == 401
        client.transport.loseConnection()
        await client.until(lambda: False)
        await self.factory_is_empty()

    async def test_large_reply_and_drain(self) -> None:
        """A large reply arrives whole although the gateway drains meanwhile."""
        client = await self.client()
        client.transport.write(get(b"/v1/later"))
        from tests.http.behaviour import turn

        while not self.handler.open:
            await turn(self.reactor)
        self.factory.drain()
        self.handler.open[0][1].reply(200, [], b"x" * 5_000_000)
        (reply,) = await client.all()
        assert len(reply.body) == 5_000_000
        await self.factory.drained()

    async def factory_is_empty(self) -> None:
        """Wait until the server side has closed too."""
        self.factory.drain()
        await self.factory.drained()
        assert self.factory.in_flight == 0

    async def test_old_versions_are_refused(self) -> None:
        """A client that speaks TLS 1.1 at most gets no connection."""
        endpoint = SSL4ClientEndpoint(
            self.reactor, "127.0.0.1", self.port.getHost().port, OldClient(), timeout=5
        )
        client = await connectProtocol(endpoint, RawClient())
        client.transport.write(get(b"/v1/a"))
        await client.until(lambda: False)
        assert client.reason.check(Error)
        assert self.handler.seen == []

    def test_files(self) -> None:
        """Files that are no certificate, no key, or do not belong together are named."""
        cert = os.path.join(self.folder, "cert.pem")
        key = os.path.join(self.folder, "key.pem")
        other, other_key, _ = make_certificates(self.folder + "-other")
        self.assertRaises(StateError, server_context_factory, key, key)
        self.assertRaises(StateError, server_context_factory, cert, cert)
        self.assertRaises(StateError, server_context_factory, cert, other_key)
        self.assertRaises(OSError, server_context_factory, cert + "x", key)
        assert isinstance(server_context_factory(other, other_key), CertificateOptions)
