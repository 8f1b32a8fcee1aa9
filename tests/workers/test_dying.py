"""Workers that die, hang or lose their control plane."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time

import pytest

from tests.drills.support import mock_model
from tests.harness import Gateway, request, wait_until
from tests.workers.support import Case, gone, metric, replaced, workers_of


def ask(connection: http.client.HTTPConnection, gateway: Gateway, key: str) -> int:
    """Send one chat request on an open connection; gives the status."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    reply.read()
    return reply.status


class TestDying(Case):
    """One worker's end is nobody else's."""

    def test_killed(self) -> None:
        """A killed worker costs its own connections; new ones are served within a second; nothing is lost."""
        gateway = self.gateway()
        key = gateway.key
        connections = [http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30) for _ in range(24)]
        for connection in connections:
            self.addCleanup(connection.close)
            self.assertEqual(ask(connection, gateway, key), 200)
        # What a worker counted is told every second.
        wait_until(lambda: metric(gateway, "voidllm_requests_total") == 24, "everything to be counted")
        dead = workers_of(gateway.pid)[0]
        os.kill(dead, signal.SIGKILL)
        killed_s = time.monotonic()
        # The other half of the address goes on; what waits for the dead one's successor waits shortly.
        for _ in range(12):
            self.assertEqual(gateway.chat()[0], 200)
        self.assertLess(time.monotonic() - killed_s, 5)
        replaced(gateway, dead, 2)
        survived = 0
        for connection in connections:
            try:
                survived += ask(connection, gateway, key) == 200
            except (OSError, http.client.HTTPException):
                connection.close()
        self.assertTrue(0 < survived < 24, survived)
        self.assertEqual(metric(gateway, "voidllm_requests_total"), 24 + 12 + survived)
        self.assertEqual(metric(gateway, "voidllm_worker_restarts_total"), 1)
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 24 + 12 + survived)

    def test_limit_outlives_a_worker(self) -> None:
        """What a killed worker admitted still counts against the limit."""
        gateway = self.gateway()
        key = gateway.cli("keys", "create", "-q", "--name", "few", "--requests-per-day", "20").strip()

        def admitted() -> bool:
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "x"}]}).encode()
            status = request(gateway.port, "POST", "/v1/chat/completions", body, headers)[0]
            self.assertIn(status, (200, 429))
            return status == 200

        self.assertEqual([admitted() for _ in range(15)], [True] * 15)
        for dead in workers_of(gateway.pid):
            os.kill(dead, signal.SIGKILL)
            replaced(gateway, dead, 2)
        self.assertEqual(sum(admitted() for _ in range(15)), 5)

    def test_again_and_again(self) -> None:
        """However often workers are killed under load, each has a successor, and every 200 has its row."""
        gateway = self.gateway()
        key = gateway.key
        stop, done = threading.Event(), []

        def load() -> None:
            while not stop.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
                try:
                    while not stop.is_set() and ask(connection, gateway, key) == 200:
                        done.append(1)
                except (OSError, http.client.HTTPException):
                    pass
                finally:
                    connection.close()

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(4):
                dead = workers_of(gateway.pid)[turn % 2]
                os.kill(dead, signal.SIGKILL)
                replaced(gateway, dead, 2)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        rows = sum(row["total_requests"] for row in gateway.usage())
        # A request whose reply was cut has its row, too: at most one for each connection and kill.
        self.assertGreaterEqual(rows, len(done))
        self.assertLessEqual(rows, len(done) + 16)

    @pytest.mark.slow
    def test_hung(self) -> None:
        """A worker that does not move is killed and replaced."""
        gateway = self.gateway()
        hung = workers_of(gateway.pid)[1]
        os.kill(hung, signal.SIGSTOP)
        replaced(gateway, hung, 2)
        for _ in range(8):
            self.assertEqual(gateway.chat()[0], 200)

    def test_orphans(self) -> None:
        """Without their control plane workers end; the next gateway waits for that, and has every row."""
        gateway = self.gateway()
        for _ in range(20):
            self.assertEqual(gateway.chat()[0], 200)
        orphans = workers_of(gateway.pid)
        gateway.kill()
        gateway.start()
        self.assertEqual([gone(pid) for pid in orphans], [True, True])
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 20)


class TestEnding(Case):
    """The end of all of them together."""

    def test_drain(self) -> None:
        """A stream that runs when SIGTERM comes is told to its end; then no process is left."""
        gateway = self.gateway([mock_model("slow", self.mock().base_url, "interval-100+words-12")])
        workers = workers_of(gateway.pid)
        got: list[bytes] = []

        def stream() -> None:
            got.append(gateway.chat("slow", stream=True)[2])

        thread = threading.Thread(target=stream)
        thread.start()
        wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(), 0)
        thread.join()
        self.assertIn(b"[DONE]", got[0])
        self.assertEqual([gone(pid) for pid in workers], [True, True])
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 1)

    def test_twice(self) -> None:
        """At a second signal everything ends at once, workers included, and streams are told so."""
        gateway = self.gateway([mock_model("slow", self.mock().base_url, "interval-100+words-4000")])
        workers = workers_of(gateway.pid)
        got: list[bytes] = []

        def stream() -> None:
            got.append(gateway.chat("slow", stream=True)[2])

        thread = threading.Thread(target=stream)
        thread.start()
        wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
        gateway.signal(signal.SIGTERM)
        # Two signals at once are one.
        wait_until(lambda: "stopping" in gateway.log.read_text(), "the drain to begin")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(10), 1)
        thread.join(10)
        wait_until(lambda: all(map(gone, workers)), "the workers to end", 5)
        self.assertNotIn(b"[DONE]", got[0])
        self.assertIn(b'"error"', got[0])

    def test_group_signals(self) -> None:
        """Ctrl-C goes to every process of a terminal's group, and still the end is orderly."""
        gateway = self.gateway()
        workers = workers_of(gateway.pid)
        for pid in workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGHUP)
        for _ in range(8):
            self.assertEqual(gateway.chat()[0], 200)
        self.assertEqual(workers_of(gateway.pid), workers)
        gateway.signal(signal.SIGINT)
        self.assertEqual(gateway.wait(), 0)

    def test_port_in_use(self) -> None:
        """A port that somebody listens on is refused by name, and no process is left."""
        first = self.gateway()
        second = Gateway(self.folder(), workers=2)
        second.port = first.port
        second.configure(workers=2)
        second.launch()
        self.addCleanup(second.kill)
        self.assertEqual(second.wait(), 1)
        self.assertIn("in use", second.log.read_text())
