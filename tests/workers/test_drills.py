"""Long faults of a gateway with workers, under load."""

from __future__ import annotations

import http.client
import json
import os
import random
import secrets
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.drills.support import Load, Rows, chat_body, mock_model, sqlite_rows
from tests.harness import Gateway, request, wait_until
from tests.servers import PostgresServer
from tests.workers.support import Case, gone, workers_of


def ask(gateway: Gateway, key: str) -> int:
    """Ask the demo model on a connection of its own; gives the status."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return request(gateway.port, "POST", "/v1/chat/completions", chat_body("demo"), headers)[0]


@pytest.mark.slow
class TestRows(Case):
    """Every request that a client saw complete has exactly one row."""

    def test_kills_and_drains(self) -> None:
        """Whoever is killed, drained or replaced, and however often."""
        gateway = self.gateway(
            [mock_model("plain", self.mock().base_url)],
            workers=3,
            settings={"usage": {"flush_interval": "100ms"}},
        )
        load = Load(gateway.port, gateway.key, ["demo", "plain"], clients=6).start()
        rng = random.Random(4)
        for turn in range(3):
            for _ in range(3):
                time.sleep(rng.uniform(0.3, 1.0))
                for pid in rng.sample(workers_of(gateway.pid), rng.choice((1, 1, 2))):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: len(workers_of(gateway.pid)) == 3, "successors")
            orphans = workers_of(gateway.pid)
            if turn == 1:
                gateway.kill()
            else:
                gateway.signal(signal.SIGTERM)
                self.assertEqual(gateway.wait(), 0)
            gateway.start()
            self.assertEqual([pid for pid in orphans if not gone(pid)], [])
        load.stop()
        self.assertEqual([one for one in load.trouble if "503" not in one], [])
        self.assertGreater(len(load.completed), 200)
        gateway.usage()
        self.assertEqual(gateway.stop(), 0)
        rows = sqlite_rows(gateway)
        counts = rows.ids
        self.assertEqual([one for one in load.completed if counts[one] != 1], [])
        self.assertEqual([one for one, count in counts.items() if count != 1], [])
        self.assertEqual(set(counts) - set(load.started), set())
        self.assertEqual(rows.detail, rows.counted)

    def test_day_limit_after_a_restart(self) -> None:
        """What workers had only in their journals counts after everything was killed."""
        gateway = self.gateway(settings={"usage": {"flush_interval": "60s"}})
        key = gateway.cli("keys", "create", "-q", "--name", "few", "--requests-per-day", "20").strip()
        wait_until(lambda: ask(gateway, key) == 200, "the key to be known")
        self.assertEqual([ask(gateway, key) for _ in range(11)], [200] * 11)
        gateway.kill()
        gateway.configure(workers=3)
        gateway.start()
        self.assertEqual([ask(gateway, key) for _ in range(12)], [200] * 8 + [429] * 4)


@pytest.mark.slow
class TestLimits(Case):
    """Caps that hold, whatever changes meanwhile."""

    def test_changes(self) -> None:
        """A limit is raised, its key moves to a team, others come and go, workers die: no cap is exceeded."""
        gateway = self.gateway(workers=3)
        made = json.loads(
            gateway.cli("keys", "create", "--name", "day", "--requests-per-day", "30", "--json")
        )
        wait_until(lambda: ask(gateway, made["key"]) == 200, "the key to be known")
        passed: list[int] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                try:
                    status = ask(gateway, made["key"])
                except (OSError, http.client.HTTPException):
                    continue
                if status == 200:
                    passed.append(1)
                time.sleep(0.01)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(passed) == 29, "the cap to be used up")
            limit = (
                "UPDATE scope_limits SET requests_per_day = {} WHERE scope_kind = 'key' AND scope_id = '{}'"
            )
            self.change(gateway, limit.format(45, made["id"]))
            wait_until(lambda: len(passed) == 44, "the new cap to be used up", 15)
            self.change(
                gateway,
                "INSERT INTO teams (id, org_id, name, slug, created_at_ms)"
                " SELECT 't', org_id, 't', 't', 1 FROM api_keys LIMIT 1",
                "INSERT INTO scope_limits VALUES ('team', 't', 0, 10, 0, 0, 0)",
                f"UPDATE api_keys SET team_id = 't' WHERE id = '{made['id']}'",
                limit.format(0, made["id"]),
            )
            wait_until(lambda: len(passed) == 54, "the team's cap to be used up", 15)
            for number in range(4):
                os.kill(workers_of(gateway.pid)[number % 2], signal.SIGKILL)
                self.assertEqual(self.new(gateway, number), 7)
            time.sleep(1)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(len(passed), 54)

    def new(self, gateway: Gateway, number: int) -> int:
        """Make a key that 20 requests at once use up; gives how many passed."""
        new = json.loads(
            gateway.cli("keys", "create", "--name", f"n{number}", "--requests-per-day", "7", "--json")
        )
        wait_until(lambda: ask(gateway, new["key"]) == 200, "the key to be known")

        def one(_: int) -> bool:
            return ask(gateway, new["key"]) == 200

        with ThreadPoolExecutor(8) as pool:
            found = 1 + sum(pool.map(one, range(20)))
        gateway.cli("keys", "revoke", new["id"])
        return found

    def change(self, gateway: Gateway, *statements: str) -> None:
        """Change the store behind the gateway's back, as another box would."""
        connection = sqlite3.connect(gateway.state_dir / "voidllm.db", timeout=10)
        try:
            for statement in (*statements, "UPDATE change_version SET version = version + 1"):
                connection.execute(statement)
            connection.commit()
        finally:
            connection.close()


@pytest.mark.slow
class TestPostgres(Case):
    """Workers whose control plane has a database of trouble."""

    def setUp(self) -> None:
        self.server = PostgresServer()
        self.addCleanup(self.server.remove)
        self.server.start()
        self.dsn = self.server.create_database()
        self.secret = secrets.token_hex(16)

    def box(self, workers: int) -> Gateway:
        """Describe one."""
        made = Gateway(
            self.folder(),
            workers=workers,
            database={"driver": "postgres", "dsn": self.dsn},
            settings={"usage": {"flush_interval": "100ms"}, "encryption_key": self.secret},
        )
        self.addCleanup(made.kill)
        return made

    def test_away(self) -> None:
        """Absent at the start, every worker says 503; killed under load, nobody notices; rows are exact."""
        self.server.stop()
        gateway = self.box(3)
        gateway.launch()

        def starting() -> bool:
            try:
                return request(gateway.port, "GET", "/healthz")[0] == 200
            except OSError:
                return False

        wait_until(starting, "the port")
        self.assertEqual({request(gateway.port, "GET", "/v1/models")[0] for _ in range(12)}, {503})
        before = workers_of(gateway.pid)
        # A worker that dies now has a successor that says the same.
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: before[0] not in workers_of(gateway.pid), "its end")
        wait_until(lambda: len(workers_of(gateway.pid)) == 3, "its successor")
        self.server.start()
        gateway.wait_ready()
        load = Load(gateway.port, gateway.key, ["demo"], clients=4).start()
        time.sleep(1)
        self.server.stop()
        time.sleep(2)
        now = workers_of(gateway.pid)
        self.server.start()
        time.sleep(1)
        load.stop()
        self.assertEqual((load.trouble, load.broken), ([], 0))
        self.assertEqual(workers_of(gateway.pid), now)
        wanted = len(load.completed)
        rows = wait_until(lambda: self._rows(wanted), "every row")
        self.assertEqual(set(rows.ids), load.completed)
        self.assertEqual(set(rows.ids.values()), {1})

    def _rows(self, wanted: int) -> Rows | None:
        rows = Rows(lambda sql: self.server.execute(sql, self.dsn))
        return rows if len(rows.all) >= wanted else None

    def test_another_box(self) -> None:
        """A key that another box revokes is unknown to every worker here within a second."""
        here, there = self.box(3), self.box(1)
        here.start()
        there.start()
        for _ in range(3):
            made = json.loads(there.cli("keys", "create", "--name", "short", "--json"))

            def statuses(key: str = made["key"]) -> set[int]:
                return {ask(here, key) for _ in range(10)}

            wait_until(lambda: statuses() == {200}, "the key to be known", 1.5)
            there.cli("keys", "revoke", made["id"])
            revoked_s = time.monotonic()
            wait_until(lambda: statuses() == {401}, "the key to be gone", 1.5)
            self.assertLess(time.monotonic() - revoked_s, 1.2)
