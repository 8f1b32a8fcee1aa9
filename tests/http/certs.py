"""Certificates made on the spot, and servers that show them."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

_DAY = datetime.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A private certificate authority that keeps its files in a folder."""

    def __init__(self, folder: str | Path, name: str = "test authority") -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name))
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = str(self._folder / f"{name}.pem")
        Path(self.ca_file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, *hosts: str, expired: bool = False, self_signed: bool = False, name: str = "leaf"
    ) -> tuple[str, str]:
        """Make a certificate for host names and addresses; gives the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        alternatives: list[x509.GeneralName] = []
        for host in hosts:
            try:
                alternatives.append(x509.IPAddress(ip_address(host)))
            except ValueError:
                alternatives.append(x509.DNSName(host))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name if self_signed else self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * _DAY)
            .not_valid_after(now - _DAY if expired else now + _DAY)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(key if self_signed else self._key, hashes.SHA256())
        cert_file = self._folder / f"{name}-cert.pem"
        key_file = self._folder / f"{name}-key.pem"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(cert_file), str(key_file)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """What ``listenSSL`` wants.

    :param client_ca: only clients with a certificate of this authority are served.
    :ivar full_handshakes: how often the certificate was sent; a resumed session needs none.
    """

    def __init__(self, cert_file: str, key_file: str, client_ca: str | None = None) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_chain_file(cert_file)
        self.context.use_privatekey_file(key_file)
        self.context.set_session_id(b"test")
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)

        self.full_handshakes = 0
        self.context.set_info_callback(self._informed)

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        """Make a connection."""
        return SSL.Connection(self.context, None)

    def _informed(self, connection: SSL.Connection, where: int, value: int) -> None:
        if where == SSL.SSL_CB_ACCEPT_LOOP and connection.get_state_string().endswith(b"write certificate"):
            self.full_handshakes += 1
