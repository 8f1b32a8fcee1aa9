"""Changes on their way to every box, many of them at once, and a database that goes while they are made."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from bench.writers import Writers
from tests.drills.support import Load, Rows, faults_in, journal_bytes, mock_model, sqlite_rows
from tests.harness import Gateway, MockLLM, request, wait_until
from tests.servers import PostgresServer

WITHIN_S, AT_LAST_S = 1.0, 10.0
WRITERS = 50
#: Seconds without a database; 60 in the long run of the same drill.
OUTAGE_S = float(os.environ.get("VOIDLLM_TEST_OUTAGE_S", "8"))
_SCOPES = ("--scope", "admin:read", "--scope", "admin:write", "--scope", "inference")
_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


def status_with(gateway: Gateway, key: str) -> int:
    """Ask for the models with ``key``; gives the status."""
    return request(gateway.port, "GET", "/v1/models", headers={"authorization": f"Bearer {key}"})[0]


def administrate(
    gateway: Gateway, key: str, method: str, path: str, value: Any = None
) -> tuple[int, dict[str, str], Any]:
    """Send an administrative request; gives status, headers and value."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = None if value is None else json.dumps(value).encode()
    status, found, text = request(gateway.port, method, path, body, headers)
    return status, found, json.loads(text) if text else None


class Case(SynchronousTestCase):
    """Gateways on a PostgreSQL server that this test may do anything to."""

    def setUp(self) -> None:
        """Start the server and an upstream."""
        self.server = PostgresServer()
        self.addCleanup(self.server.remove)
        self.server.start()
        self.dsn = self.server.create_database()
        self.secret = secrets.token_hex(16)
        self.mock = MockLLM("--delay-ms", "5")
        self.addCleanup(self.mock.stop)

    def gateway(self, **settings: Any) -> Gateway:
        """Start a box."""
        made = Gateway(
            Path(self.mktemp()),
            [mock_model("plain", self.mock.base_url)],
            database={"driver": "postgres", "dsn": self.dsn, "max_open_conns": 5},
            settings={"usage": {"flush_interval": "100ms"}, "encryption_key": self.secret},
            **settings,
        )
        self.addCleanup(made.kill)
        return made.start()

    def admin_key(self, gateway: Gateway) -> str:
        """Make a key that may change things, and wait until it is known."""
        key = gateway.cli("keys", "create", "-q", "--name", "admin", *_SCOPES).strip()
        wait_until(lambda: status_with(gateway, key) == 200, "the key to be known", WITHIN_S)
        return key

    def everywhere(self, boxes: list[Gateway], key: str, status: int, within_s: float) -> float:
        """Wait until all boxes say so; gives how long that took."""
        began_s = time.monotonic()
        for box in boxes:
            wait_until(lambda box=box: status_with(box, key) == status, f"{status} everywhere", within_s)
        return time.monotonic() - began_s


@pytest.mark.slow
class TwoBoxesTests(Case):
    """What one box changes, the other goes by."""

    def test_changes_arrive(self) -> None:
        """Each kind of change within a second, whichever box is told, and with workers on one of them."""
        boxes = [self.gateway(), self.gateway(workers=2)]
        admin = self.admin_key(boxes[0])
        self.everywhere(boxes, admin, 200, WITHIN_S)
        for told in boxes:
            status, _, made = administrate(told, admin, "POST", "/api/v1/keys", {"name": "here and there"})
            self.assertEqual(status, 201)
            key, path = made["key"], f"/api/v1/keys/{made['id']}"
            self.everywhere(boxes, key, 200, WITHIN_S)
            self.assertEqual(administrate(told, admin, "PATCH", path, {"models": ["demo"]})[0], 200)

            def models(box: Gateway, key: str = key) -> list[str]:
                headers = {"authorization": f"Bearer {key}"}
                return [
                    one["id"]
                    for one in json.loads(request(box.port, "GET", "/v1/models", None, headers)[2])["data"]
                ]

            for box in boxes:
                wait_until(lambda box=box: models(box) == ["demo"], "the access list to arrive", WITHIN_S)
            self.assertIn(administrate(told, admin, "DELETE", path)[0], (200, 204))
            self.everywhere(boxes, key, 401, WITHIN_S)
        for box in boxes:
            self.assertEqual(box.stop(), 0)
            self.assertEqual(faults_in(box.log.read_text()), [])

    def test_lost_notifications(self) -> None:
        """A cut line for notifications, and one that nobody heard: it arrives within ten seconds."""
        boxes = [self.gateway(), self.gateway()]
        admin = self.admin_key(boxes[0])
        keys = [administrate(boxes[0], admin, "POST", "/api/v1/keys", {"name": f"k{n}"})[2] for n in range(2)]
        for made in keys:
            self.everywhere(boxes, made["key"], 200, WITHIN_S)
        self.server.execute(_LISTENERS, self.dsn)
        administrate(boxes[0], admin, "DELETE", f"/api/v1/keys/{keys[0]['id']}")
        self.everywhere(boxes, keys[0]["key"], 401, AT_LAST_S)
        # As if the notification of a whole change had been swallowed.
        self.server.execute(
            f"UPDATE api_keys SET revoked_at_ms = 1 WHERE id = '{keys[1]['id']}';"
            "UPDATE change_version SET version = version + 1;"
            f"INSERT INTO changes SELECT version, 'key', '{keys[1]['id']}' FROM change_version",
            self.dsn,
        )
        self.everywhere(boxes, keys[1]["key"], 401, AT_LAST_S)

    def test_commands(self) -> None:
        """What an operator's command changes on a running box is in force everywhere within a second."""
        boxes = [self.gateway(), self.gateway()]
        made = json.loads(boxes[0].cli("keys", "create", "--name", "x", "--json"))
        self.everywhere(boxes, made["key"], 200, WITHIN_S)
        boxes[1].cli("keys", "revoke", made["id"])
        self.everywhere(boxes, made["key"], 401, WITHIN_S)


@pytest.mark.slow
class WritersTests(SynchronousTestCase):
    """Fifty administrators write at once, and nobody who asks a model notices."""

    def test_sqlite(self) -> None:
        """No locked database, no error on the hot path, no 5xx for an administrator; every row is there."""
        mock = MockLLM("--delay-ms", "5")
        self.addCleanup(mock.stop)
        gateway = Gateway(
            self.mktemp(),
            [mock_model("plain", mock.base_url)],
            settings={"usage": {"flush_interval": "100ms"}},
        ).start()
        self.addCleanup(gateway.kill)
        admin = gateway.cli("keys", "create", "-q", "--name", "admin", *_SCOPES).strip()
        load = Load(gateway.port, gateway.key, ["plain"], 8).start()
        wait_until(lambda: len(load.completed) > 100, "the load to run")
        writers = Writers(gateway.port, admin, WRITERS).start()
        wait_until(lambda: writers.revoked >= 2 * WRITERS, "everybody to have written", 60)
        goal = len(load.completed) + 100
        wait_until(lambda: len(load.completed) > goal, "the load to go on")
        writers.stop()
        load.stop()
        self.assertEqual(load.trouble, [])
        self.assertEqual(load.broken, 0)
        self.assertEqual(set(writers.statuses) - {200, 201, 204}, set(), writers.statuses)
        self.assertEqual(gateway.stop(), 0)
        log = gateway.log.read_text()
        self.assertNotIn("locked", log)
        self.assertEqual(faults_in(log), [])
        rows = sqlite_rows(gateway)
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(load.completed - set(rows.ids), set())


@pytest.mark.slow
class OutageTests(Case):
    """The database is gone for a while."""

    def test_outage(self) -> None:
        """Requests go on, administrators are told when to come again, afterwards all is well by itself."""
        gateway = self.gateway()
        admin = self.admin_key(gateway)
        load = Load(gateway.port, gateway.key, ["plain"], 4, 7).start()
        wait_until(lambda: len(load.completed) > 100, "the load to run")
        self.server.stop()
        over_s = time.monotonic() + OUTAGE_S
        refused = 0
        while time.monotonic() < over_s:
            before = len(load.completed)
            for method, path, value in (
                ("POST", "/api/v1/keys", {"name": "not now"}),
                ("GET", "/api/v1/keys", None),
            ):
                status, headers, _ = administrate(gateway, admin, method, path, value)
                self.assertEqual(status, 503)
                self.assertGreaterEqual(int(headers["retry-after"]), 1)
                refused += 1
            wait_until(lambda before=before: len(load.completed) > before, "the load to go on")
        self.assertGreaterEqual(refused, 2)
        self.assertGreater(journal_bytes(gateway), 0)
        self.server.start()
        wait_until(
            lambda: administrate(gateway, admin, "GET", "/api/v1/keys")[0] == 200, "administration to be back"
        )
        status, _, made = administrate(gateway, admin, "POST", "/api/v1/keys", {"name": "again"})
        self.assertEqual(status, 201)
        wait_until(lambda: status_with(gateway, made["key"]) == 200, "changes to arrive again", AT_LAST_S)
        load.stop()
        self.assertEqual(load.trouble, [])
        self.assertEqual(load.broken, 0)
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(journal_bytes(gateway), 0)
        rows = Rows(lambda sql: self.server.execute(sql, self.dsn))
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(set(rows.ids), load.completed)
        self.assertEqual(faults_in(gateway.log.read_text()), [])
