"""The whole gateway while its PostgreSQL is killed, frozen, restarted or not there."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import (
    Load,
    Rows,
    chat_body,
    faults_in,
    journal_bytes,
    metrics,
    mock_model,
    worst_lag,
)
from tests.harness import Gateway, MockLLM, request, wait_until
from tests.servers import PostgresServer

CLIENTS = 4
STALL_S = 0.05
DEFAULT_CONNECTIONS = 25
COMMITTED = "voidllm_usage_events_committed_total"
FAILURES = "voidllm_usage_commit_failures_total"
LAG = "voidllm_usage_journal_lag_bytes"


def status_with(gateway: Gateway, key: str) -> int:
    """Ask the demo model with ``key``; gives the status."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return request(gateway.port, "POST", "/v1/chat/completions", chat_body("demo"), headers)[0]


def answers(gateway: Gateway) -> bool:
    """Whether the process lives and listens, ready or not."""
    try:
        return request(gateway.port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


@pytest.mark.slow
class PostgresTests(SynchronousTestCase):
    """A database that has trouble troubles nobody who has a key."""

    def setUp(self) -> None:
        """Start a server that this test may do anything to."""
        self.server = PostgresServer()
        self.addCleanup(self.server.remove)
        self.server.start()
        self.dsn = self.server.create_database()
        self.secret = secrets.token_hex(16)
        self.mock = MockLLM("--delay-ms", "5", "--interval-ms", "2")
        self.addCleanup(self.mock.stop)

    def gateway(self, **settings: Any) -> Gateway:
        """Describe a gateway on the server."""
        made = Gateway(
            Path(self.mktemp()),
            [mock_model("plain", self.mock.base_url)],
            database={"driver": "postgres", "dsn": self.dsn},
            settings={"usage": {"flush_interval": "100ms"}, "encryption_key": self.secret, **settings},
        )
        self.addCleanup(made.kill)
        return made

    def rows(self) -> Rows:
        """Read what the database has."""
        return Rows(lambda sql: self.server.execute(sql, self.dsn))

    def test_killed_frozen_restarted(self) -> None:
        """In the middle of a load: every request succeeds, nothing stalls, every row is there once."""
        gateway = self.gateway().start()
        idle = Gateway(self.mktemp()).start()
        self.addCleanup(idle.kill)
        load = Load(gateway.port, gateway.key, ["plain"], CLIENTS, 3).start()

        def more(count: int) -> None:
            goal = len(load.completed) + count
            wait_until(lambda: len(load.completed) >= goal, "the load to go on")

        def trouble(
            cause: Callable[[], None], cure: Callable[[], None], noticed: str = ""
        ) -> tuple[int, int]:
            before, idle_before = metrics(gateway.port), metrics(idle.port)
            cause()
            if noticed:
                wait_until(lambda: metrics(gateway.port)[noticed] > before[noticed], f"{noticed} to grow", 60)
            more(200)
            cure()
            committed = metrics(gateway.port)[COMMITTED]
            wait_until(lambda: metrics(gateway.port)[COMMITTED] > committed + 200, "the batcher to go on", 60)
            return (
                worst_lag(metrics(gateway.port), before)[0],
                worst_lag(metrics(idle.port), idle_before)[1],
            )

        more(200)
        found = {
            "killed": trouble(self.server.stop, self.server.start, LAG),
            "frozen": trouble(self.server.freeze, self.server.thaw, FAILURES),
            "restarted": trouble(self.server.restart, lambda: None),
        }
        load.stop()
        self.assertEqual(load.trouble, [])
        self.assertEqual(load.broken, 0)
        for name, (worst, worst_when_idle) in found.items():
            # What the machine does to an idle process at the same time is no fault of ours.
            self.assertLess(worst, worst_when_idle + STALL_S, f"the event loop stalled: {name} {found}")
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(journal_bytes(gateway), 0)
        rows = self.rows()
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(set(rows.ids), load.completed)
        self.assertEqual(rows.detail, rows.counted)
        self.assertEqual(faults_in(gateway.log.read_text()), [])

    def test_killed_together(self) -> None:
        """Database frozen, then the gateway killed: the next start finds every row in the journal."""
        gateway = self.gateway().start()
        load = Load(gateway.port, gateway.key, ["plain"], CLIENTS, 5).start()
        wait_until(lambda: len(load.completed) > 100, "the load to run")
        self.server.freeze()
        wait_until(lambda: len(load.completed) > 400, "the load to go on")
        gateway.kill()
        load.stop()
        self.server.thaw()
        gateway.start()
        wait_until(lambda: journal_bytes(gateway) == 0, "the journal to be drained")
        self.assertEqual(gateway.stop(), 0)
        rows = self.rows()
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(load.completed - set(rows.ids), set())
        self.assertEqual(set(rows.ids) - load.completed - load.open, set())
        self.assertEqual(rows.detail, rows.counted)

    def test_two_boxes(self) -> None:
        """A key made or revoked on one box is known on the other within a second."""
        one, other = self.gateway().start(), self.gateway().start()
        self.assertEqual(status_with(other, one.key), 200)
        for number in range(3):
            made = json.loads(one.cli("keys", "create", "--name", f"k{number}", "--json"))
            key = made.get("key") or made["api_key"]
            wait_until(lambda key=key: status_with(other, key) == 200, "the key to be known", 1.0)
            # The other way round, too.
            other.cli("keys", "revoke", made["id"])
            wait_until(lambda key=key: status_with(one, key) == 401, "the key to be dead", 1.0)
            self.assertEqual(status_with(other, key), 401)
        both = [one.stop(), other.stop()]
        self.assertEqual(both, [0, 0])
        rows = self.rows()
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(rows.detail, rows.counted)

    def test_connections_are_counted(self) -> None:
        """The metrics say how many connections there are to the database, and how often they did not do."""
        gateway = self.gateway().start()
        open_, idle = "voidllm_db_open_connections", "voidllm_db_idle_connections"
        wait_until(lambda: metrics(gateway.port)[idle] == DEFAULT_CONNECTIONS, "all connections to be open")
        found = metrics(gateway.port)
        self.assertEqual(found[open_], DEFAULT_CONNECTIONS)
        self.assertGreaterEqual(found["voidllm_db_wait_count_total"], 1)
        self.assertEqual(gateway.stop(), 0)

    def test_absent_at_start(self) -> None:
        """Without its database the gateway says when to come back, keeps trying, and comes up."""
        self.server.stop()
        gateway = self.gateway().launch()
        wait_until(lambda: answers(gateway), "the port to be open")
        for method, path in (("GET", "/readyz"), ("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            status, headers, body = request(gateway.port, method, path, b"{}" if method == "POST" else None)
            self.assertEqual(status, 503, path)
            self.assertGreaterEqual(int(headers["retry-after"]), 1, path)
            json.loads(body)
        self.server.start()
        gateway.wait_ready()
        self.assertEqual(gateway.chat()[0], 200)
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(len(self.rows().all), 1)
        self.assertEqual(faults_in(gateway.log.read_text()), [])

    def test_stopped_before_it_came_up(self) -> None:
        """A gateway that still waits for its database stops soon after it is asked to."""
        for cause in (self.server.freeze, self.server.stop):
            cause()
            gateway = self.gateway().launch()
            wait_until(lambda gateway=gateway: answers(gateway), "the port to be open")
            began = time.monotonic()
            self.assertEqual(gateway.stop(), 0)
            self.assertLess(time.monotonic() - began, 5, cause.__name__)
            self.assertEqual(faults_in(gateway.log.read_text()), [])
