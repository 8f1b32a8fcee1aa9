"""Several workers answer as one gateway."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.harness import ROOT, custom_model, request, wait_until
from tests.workers.support import Case, connections_of, metric, workers_of


class TestServing(Case):
    """What callers see."""

    def test_one_truth(self) -> None:
        """Requests over many connections are answered, counted on one page, and each has its row."""
        gateway = self.gateway()
        self.assertEqual(len(workers_of(gateway.pid)), 2)
        for _ in range(40):
            self.assertEqual(gateway.chat()[0], 200)
        self.assertEqual(metric(gateway, "voidllm_requests_total"), 40)
        self.assertEqual(metric(gateway, "voidllm_worker_up"), 2)
        rows = gateway.usage()
        self.assertEqual([(row["model"], row["total_requests"]) for row in rows], [("demo", 40)])

    def test_admin_on_any_connection(self) -> None:
        """Whichever worker accepts, the administration answers, and so does ``/v1`` behind it."""
        gateway = self.gateway()
        scopes = ("--scope", "inference", "--scope", "admin:read")
        key = gateway.cli("keys", "create", "-q", "--name", "both", *scopes).strip()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "x"}]})
        for _ in range(12):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
            self.addCleanup(connection.close)
            for method, path, sent in (
                ("POST", "/v1/chat/completions", body),
                ("GET", "/api/v1/keys", None),
                ("GET", "/healthz", None),
                ("POST", "/v1/chat/completions", body),
            ):
                connection.request(method, path, sent, headers)
                reply = connection.getresponse()
                answer = reply.read()
                self.assertEqual(reply.status, 200, (path, answer))

    def test_limit_holds(self) -> None:
        """Of requests at the same time over all workers, as many pass as the limit allows."""
        gateway = self.gateway(workers=3)
        made = json.loads(
            gateway.cli("keys", "create", "--name", "few", "--requests-per-minute", "25", "--json")
        )
        headers = {"authorization": f"Bearer {made['key']}", "content-type": "application/json"}
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "x"}]}).encode()

        def ask(_: int) -> int:
            return request(gateway.port, "POST", "/v1/chat/completions", body, headers)[0]

        wait_until(lambda: ask(0) == 200, "the key to be known")
        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(ask, range(120)))
        admitted = statuses.count(200)
        self.assertLessEqual(admitted, 25)
        self.assertGreaterEqual(admitted, 20)
        self.assertEqual(admitted + statuses.count(429), 120)

    def test_revoked_everywhere(self) -> None:
        """A key is known, and unknown again, to every worker within a second."""
        gateway = self.gateway()
        made = json.loads(gateway.cli("keys", "create", "--name", "short", "--json"))
        headers = {"authorization": f"Bearer {made['key']}"}

        def statuses() -> set[int]:
            return {request(gateway.port, "GET", "/v1/models", headers=headers)[0] for _ in range(12)}

        wait_until(lambda: statuses() == {200}, "the key to be known", 2)
        gateway.cli("keys", "revoke", made["id"])
        revoked_s = time.monotonic()
        wait_until(lambda: statuses() == {401}, "the key to be gone", 2)
        self.assertLess(time.monotonic() - revoked_s, 1.5)

    def test_even(self) -> None:
        """Of a thousand connections the worst worker of four has within a quarter of the mean."""
        gateway = self.gateway(workers=4)
        self.connect(gateway, 1000)
        pids = workers_of(gateway.pid)

        def counts() -> list[int]:
            found = [connections_of(pid) for pid in pids]
            return found if sum(found) >= 1000 else []

        for count in wait_until(counts, "all connections to be accepted"):
            self.assertTrue(188 <= count <= 312, count)

    def test_auto(self) -> None:
        """``auto`` is a worker for each core, or none besides the gateway on a single one."""
        gateway = self.gateway(workers="auto")
        cores = len(os.sched_getaffinity(0))
        self.assertEqual(len(workers_of(gateway.pid)), cores if cores > 1 else 0)

    def test_reload(self) -> None:
        """A model that the file gains is there in every worker after SIGHUP."""
        gateway = self.gateway()
        mock = self.mock()
        gateway.configure([custom_model("late", mock.base_url)], workers=2)
        gateway.signal(signal.SIGHUP)

        def known() -> bool:
            return all(gateway.chat("late")[0] == 200 for _ in range(8))

        wait_until(known, "the new model")


class TestLight(Case):
    """What a worker is made of."""

    def test_imports(self) -> None:
        """A worker loads nothing that only a control plane needs."""
        code = "import sys, voidllm.worker; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        loaded = set(done.stdout.split())
        heavy = (
            "klein",
            "sqlite3",
            "txpostgres",
            "psycopg2",
            "genai_prices",
            "yaml",
            "cattrs",
            "click",
            "argon2",
        )
        self.assertEqual([name for name in heavy if name in loaded], [])
        for part in ("admin", "store", "config", "gateway", "workers", "service"):
            self.assertNotIn(f"voidllm.{part}", loaded)
