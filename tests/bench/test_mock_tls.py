"""The mock behind a TLS endpoint."""

from __future__ import annotations

import datetime
import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for ``localhost`` and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


class OverTLS(SynchronousTestCase):
    """HTTPS clients with and without ALPN."""

    def test_serves(self) -> None:
        """Both get an answer over a verified connection."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        cert, key = write_certificate(folder)
        endpoint = f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1"
        command = [sys.executable, "-m", "bench.mocks.llm", "--endpoint", endpoint]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1])
        for offered in ([], ["h2", "http/1.1"]):
            context = ssl.create_default_context(cafile=str(cert))
            if offered:
                context.set_alpn_protocols(offered)
            connection = http.client.HTTPSConnection("localhost", port, timeout=5, context=context)
            self.addCleanup(connection.close)
            connection.request("POST", "/v1/embeddings", json.dumps({"model": "m", "input": "a"}))
            self.assertEqual(connection.getresponse().status, 200)
