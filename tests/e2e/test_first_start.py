"""The first minutes of a new installation, as a person would live them."""

import json
import os
import signal
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, request


class FirstStartTests(SynchronousTestCase):
    """A fresh gateway answers at once and remembers what it did."""

    def setUp(self) -> None:
        """Start a gateway on an empty folder."""
        self.gateway = Gateway(self.mktemp()).start()
        self.addCleanup(self.gateway.kill)

    def test_demo_answers(self) -> None:
        """The printed key works with the demo model, and the call is accounted."""
        status, headers, body = self.gateway.chat()
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body)["model"], "demo")
        self.assertIn("x-request-id", headers)
        self.assertEqual(
            [(row["model"], row["status"], row["total_requests"]) for row in self.gateway.usage()],
            [("demo", "200", 1)],
        )

    def test_credentials_file(self) -> None:
        """The credentials are in one file that only its owner may read, and in the log once."""
        path = self.gateway.state_dir / "first-credentials.json"
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(set(self.gateway.credentials()), {"api_key", "admin_email", "admin_password"})
        for folder, _, files in os.walk(self.gateway.state_dir):
            for name in files:
                mode = stat.S_IMODE(os.stat(Path(folder) / name).st_mode)
                self.assertEqual(mode & 0o077, 0, f"{name} is open to others: {mode:o}")

    def test_restart(self) -> None:
        """After a restart the same key works, nothing is seeded again, and usage is complete."""
        key = self.gateway.key
        self.gateway.chat()
        self.assertEqual(self.gateway.stop(), 0)
        self.assertEqual(sum(row["total_requests"] for row in self.gateway.usage()), 1)
        self.gateway.start()
        self.assertEqual(self.gateway.key, key)
        self.assertEqual(self.gateway.chat()[0], 200)
        self.assertEqual(sum(row["total_requests"] for row in self.gateway.usage()), 2)

    def test_probes(self) -> None:
        """Health, readiness and metrics answer in their known shapes."""
        port = self.gateway.port
        self.assertEqual(json.loads(request(port, "GET", "/healthz")[2])["status"], "ok")
        self.assertEqual(json.loads(request(port, "GET", "/readyz")[2]), {"status": "ok", "database": "ok"})
        self.gateway.chat()
        status, _, text = request(port, "GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertIn(b"voidllm_requests_total", text)
        self.assertEqual(request(port, "GET", "/nowhere")[0], 404)
        self.assertEqual(request(port, "POST", "/healthz", b"")[0], 405)

    def test_wrong_key(self) -> None:
        """No key, a wrong key and two keys are refused in OpenAI's shape."""
        port = self.gateway.port
        for headers, status in (
            ({}, 401),
            ({"authorization": "Bearer vl_uk_" + "0" * 48}, 401),
            ({"authorization": f"Bearer {self.gateway.key}", "x-api-key": "vl_uk_" + "0" * 48}, 400),
        ):
            got, _, body = request(port, "POST", "/v1/chat/completions", b"{}", headers)
            self.assertEqual(got, status)
            self.assertEqual(
                set(json.loads(body)["error"]), {"message", "type", "param", "code", "request_id"}
            )

    def test_lost_encryption_key(self) -> None:
        """A store without its encryption key is a start-up error that says what to do."""
        self.gateway.stop()
        (self.gateway.state_dir / "encryption.key").unlink()
        error = self.assertRaises(AssertionError, self.gateway.start)
        self.assertIn("encryption.key", str(error))
        self.assertNotIn("Traceback", str(error))

    def test_second_signal(self) -> None:
        """A second signal ends the process at once, and no usage is lost."""
        self.gateway.chat()
        self.gateway.signal(signal.SIGTERM)
        self.gateway.signal(signal.SIGTERM)
        self.gateway.wait(10)
        self.assertEqual(sum(row["total_requests"] for row in self.gateway.usage()), 1)
