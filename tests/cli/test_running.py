"""The commands on a gateway that runs, and on what it leaves when it is killed."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, request, wait_until


class Running(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        self.gateway = Gateway(self.mktemp()).start()
        self.addCleanup(self.gateway.kill)

    def _chat(self, key: str) -> int:
        body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        path = "/v1/chat/completions"
        return request(self.gateway.port, "POST", path, json.dumps(body).encode(), headers)[0]

    def _within_a_second(self, key: str, status: int) -> None:
        began = time.monotonic()
        wait_until(lambda: self._chat(key) == status, f"status {status}", 5)
        self.assertLess(time.monotonic() - began, 1.0)

    def _api(self, method: str, path: str, key: str, value: Any = None) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {key}"}
        body = None if value is None else json.dumps(value).encode()
        status, _, reply = request(self.gateway.port, method, path, body, headers)
        return status, json.loads(reply)

    def test_changes_are_known_within_a_second(self) -> None:
        """A key works soon after it is made, its successor too, and neither once revoked."""
        key = self.gateway.cli("keys", "create", "--name", "app").strip()
        self._within_a_second(key, 200)
        new = self.gateway.cli("keys", "rotate", f"{key[:6]}...{key[-4:]}", "--grace", "1h").strip()
        self._within_a_second(new, 200)
        self.assertEqual(self._chat(key), 200)
        self.gateway.cli("keys", "revoke", f"{new[:6]}...{new[-4:]}")
        self._within_a_second(new, 401)

    def test_a_file_that_only_the_gateway_can_read_whole(self) -> None:
        """A running gateway is asked, whatever else of the configuration cannot be understood here."""
        with self.gateway.config.open("a") as config:
            config.write("redis: {url: '${NOT_SET}'}\nmcp_servers: '${NOT_SET_EITHER}'\n")
        text = self.gateway.config.read_text()
        self.gateway.config.write_text(text.replace("driver: sqlite", "driver: ${NOT_SET}"))
        self.assertIn("first key", self.gateway.cli("keys", "list"))

    def test_limits_and_models_of_a_key_hold(self) -> None:
        """What a key was made with is what it may do."""
        none = self.gateway.cli("keys", "create", "--no-models").strip()
        self._within_a_second(none, 403)
        two = self.gateway.cli("keys", "create", "--requests-per-day", "2").strip()
        wait_until(lambda: self._chat(two) == 200, "the key to be known", 5)
        self.assertEqual([self._chat(two), self._chat(two)], [200, 429])

    def test_the_table_names_keys(self) -> None:
        """By hint and name, even one that is revoked; JSON has the id."""
        key = self.gateway.cli("keys", "create", "--name", "app").strip()
        self._within_a_second(key, 200)
        self.gateway.cli("keys", "revoke", f"{key[:6]}...{key[-4:]}")
        self.assertIn(f"{key[:6]}...{key[-4:]} app", self.gateway.cli("usage", "--group-by", "key"))
        self.assertEqual(len(self.gateway.usage("key")[0]["key"]), 36)

    def test_usage_is_complete_and_the_same_when_stopped(self) -> None:
        """Whatever was answered before the command is in its report, running, stopped or killed."""
        for _ in range(3):
            self.gateway.chat()
        self.gateway.chat("nothing")
        running = self.gateway.usage()
        self.assertEqual(
            sorted((row["model"], row["status"], row["total_requests"]) for row in running),
            [("", "404", 1), ("demo", "200", 3)],
        )
        self.gateway.stop()
        self.assertEqual(self.gateway.usage(), running)
        self.gateway.start()
        self.gateway.chat()
        self.gateway.kill()
        (row,) = [row for row in self.gateway.usage() if row["status"] == "200"]
        self.assertEqual(row["total_requests"], 4)
        key = self.gateway.cli("keys", "create").strip()
        self.gateway.start()
        self.assertEqual(self._chat(key), 200)
        (row,) = [row for row in self.gateway.usage() if row["status"] == "200"]
        self.assertEqual(row["total_requests"], 5)

    def test_the_api_on_the_port_takes_admin_keys_only(self) -> None:
        """The first key is for inference; one with the scopes administers."""
        self.assertEqual(self._api("GET", "/api/v1/keys", self.gateway.key)[0], 403)
        scopes = ["--scope", "admin:read", "--scope", "admin:write", "--scope", "inference"]
        admin = self.gateway.cli("keys", "create", "-q", "--name", "admin", *scopes).strip()
        wait_until(lambda: self._api("GET", "/api/v1/keys", admin)[0] == 200, "the key to be known", 5)
        status, made = self._api("POST", "/api/v1/keys", admin, {"name": "app"})
        self.assertEqual(status, 201)
        self._within_a_second(made["key"], 200)
        status, report = self._api("GET", "/api/v1/usage", admin)
        self.assertEqual((status, report["data"][0]["total_requests"]), (200, 1))
        status, view = self._api("GET", "/api/v1/config", admin)
        self.assertEqual((status, view["database"]["driver"]), (200, "sqlite"))
        self.assertNotIn(made["key"], json.dumps(view))
