"""The first administrator's password, and what the operator can do when it is lost."""

from __future__ import annotations

import json
from typing import Any

from pyotp import TOTP
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, request

NEW = "correct horse battery staple"
WARNING = "still has the password of the first start"


class FirstPassword(SynchronousTestCase):
    """A real gateway, its control socket and its stopped store."""

    def setUp(self) -> None:
        """Start a gateway on an empty folder."""
        self.gateway = Gateway(self.mktemp()).start()
        self.addCleanup(self.gateway.kill)
        self.email = self.gateway.credentials()["admin_email"]
        self.path = self.gateway.state_dir / "first-credentials.json"

    def ask(self, method: str, path: str, value: Any = None, token: str = "") -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        body = None if value is None else json.dumps(value).encode()
        status, _, reply = request(self.gateway.port, method, f"/api/v1{path}", body, headers)
        return status, json.loads(reply) if reply else None

    def log_in(self, password: str) -> tuple[int, Any]:
        return self.ask("POST", "/auth/login", {"email": self.email, "password": password})

    def test_it_must_be_changed(self) -> None:
        """Until it is, a session can do nothing else and each start warns; then the file is gone."""
        first = self.gateway.credentials()["admin_password"]
        self.assertIn(WARNING, self.gateway.log.read_text())
        status, got = self.log_in(first)
        self.assertEqual((status, got["user"]["must_change_password"]), (200, True))
        token = got["token"]
        status, refused = self.ask("GET", "/keys", token=token)
        self.assertEqual((status, refused["error"]["code"]), (403, "password_change_required"))
        body = {"current_password": first, "new_password": NEW}
        self.assertEqual(self.ask("POST", "/me/password", body, token)[0], 200)
        self.assertFalse(self.path.exists())
        self.assertEqual(self.ask("GET", "/keys", token=token)[0], 200)
        self.assertEqual(self.log_in(first)[0], 401)
        self.gateway.stop()
        before = len(self.gateway.log.read_text())
        self.gateway.start()
        self.assertNotIn(WARNING, self.gateway.log.read_text()[before:])
        self.assertEqual(self.ask("GET", "/me", token=token)[0], 200)
        self.assertNotIn(NEW, self.gateway.log.read_text())

    def test_the_operator_helps(self) -> None:
        """Running or stopped, the operator gives a password that must be changed; the first file goes."""
        for running in (True, False):
            if not running:
                self.gateway.stop()
            password = self.gateway.cli("admin", "reset-password", "-q", self.email).strip()
            if not running:
                self.gateway.start()
            self.assertFalse(self.path.exists())
            status, got = self.log_in(password)
            self.assertEqual((status, got["user"]["must_change_password"]), (200, True))
        self.assertEqual(self.gateway.cli("admin", "reset-password", "nobody@example.org", check=False), "")
        status, _ = self.ask("POST", "/operator/reset-password", {"email": self.email}, got["token"])
        self.assertEqual(status, 404)

    def test_a_lost_second_factor(self) -> None:
        """The operator takes it away, and the password alone is enough again."""
        first = self.gateway.credentials()["admin_password"]
        _, got = self.log_in(first)
        token = got["token"]
        self.ask("POST", "/me/password", {"current_password": first, "new_password": NEW}, token)
        status, made = self.ask("POST", "/me/totp", {"current_password": NEW}, token)
        self.assertEqual(status, 201)
        self.assertEqual(
            self.ask("POST", "/me/totp/confirm", {"totp": TOTP(made["secret"]).now()}, token)[0], 200
        )
        self.assertEqual(self.log_in(NEW)[1]["error"]["code"], "totp_required")
        self.gateway.cli("admin", "disable-totp", self.email)
        self.assertEqual(self.log_in(NEW)[0], 200)
