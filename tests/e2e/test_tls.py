"""TLS on both sides of a real gateway: to its clients, and to an upstream with a private authority."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, MockLLM, custom_model, free_port, wait_until
from tests.http.certs import Authority


class TLSTests(SynchronousTestCase):
    """A gateway that listens with TLS and calls upstreams over TLS."""

    def setUp(self) -> None:
        """Start a mock upstream with a certificate of a private authority, and the gateway."""
        folder = Path(self.mktemp())
        self.authority = Authority(folder)
        cert, key = self.authority.issue("localhost", "127.0.0.1")
        port = free_port()
        mock = MockLLM(
            "--endpoint", f"ssl:{port}:interface=127.0.0.1:certKey={cert}:privateKey={key}", "--delay-ms", "0"
        )
        self.addCleanup(mock.stop)
        url = f"https://127.0.0.1:{port}/v1"
        trusted = custom_model("trusted", url, tls={"ca_file": self.authority.ca_file})
        self.gateway = Gateway(
            folder / "gateway",
            [trusted, custom_model("untrusted", url)],
            server={"proxy": {"tls": {"enabled": True, "cert": cert, "key": key}}},
        )
        self.addCleanup(self.gateway.kill)
        self.gateway.start(ready=self.ready)

    def ready(self) -> bool:
        """Ask for readiness over TLS."""
        return self.ask("GET", "/readyz", None)[0] == 200

    def ask(self, method: str, path: str, value: object) -> tuple[int, bytes]:
        """Send a request over TLS, trusting the private authority only."""
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.gateway.port, context=context, timeout=10)
        try:
            headers = {"authorization": f"Bearer {self.gateway.key}"} if value is not None else {}
            connection.request(method, path, json.dumps(value) if value is not None else None, headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def test_both_sides(self) -> None:
        """Buffered and streamed calls pass; an upstream that cannot be verified is a 502."""
        request = {"model": "trusted", "messages": [{"role": "user", "content": "hello"}]}
        status, body = self.ask("POST", "/v1/chat/completions", request)
        self.assertEqual(status, 200, body)
        status, body = self.ask("POST", "/v1/chat/completions", {**request, "stream": True})
        self.assertEqual(status, 200, body)
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"))
        status, body = self.ask("POST", "/v1/chat/completions", {**request, "model": "untrusted"})
        self.assertEqual((status, json.loads(body)["error"]["code"]), (502, "upstream_unavailable"))

    def test_plain_text_is_refused(self) -> None:
        """A client that does not speak TLS gets nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", "/readyz")
        self.assertRaises((http.client.HTTPException, ConnectionError), connection.getresponse)
        wait_until(self.ready, "the gateway to go on")

    def test_idle_clients_at_the_end(self) -> None:
        """Clients that hold idle connections, and close none, do not hold up the end."""
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        for path in ("/healthz", "/v1/models"):
            held = http.client.HTTPSConnection("127.0.0.1", self.gateway.port, context=context, timeout=10)
            self.addCleanup(held.close)
            held.request("GET", path, headers={"authorization": f"Bearer {self.gateway.key}"})
            self.assertEqual(held.getresponse().read()[:1], b"{")
        self.gateway.signal(signal.SIGTERM)
        self.assertEqual(self.gateway.wait(6), 0)
