"""Workers that die, hang or lose their control plane."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.drills.support import descriptors, faults_in, mock_model, resident_kb
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

    def test_orphans_and_commands(self) -> None:
        """A command that comes when the control plane was just killed waits for the last rows of workers."""
        gateway = self.gateway([mock_model("slow", self.mock().base_url, "interval-100+words-4000")])
        thread = threading.Thread(target=lambda: gateway.chat("slow", stream=True))
        thread.start()
        wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
        gateway.kill()
        self.assertEqual([row["total_requests"] for row in gateway.usage()], [1])
        thread.join(10)

    def test_stopped_orphan(self) -> None:
        """A worker that was stopped when its control plane was killed keeps nobody from the state folder.

        However many workers the next gateway has.
        """
        gateway = self.gateway()
        for _ in range(12):
            self.assertEqual(gateway.chat()[0], 200)
        orphans = workers_of(gateway.pid)
        os.kill(orphans[0], signal.SIGSTOP)
        gateway.kill()
        gateway.configure(workers=1)
        gateway.start()
        self.assertEqual([gone(pid) for pid in orphans], [True, True])
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 12)
        # What was held back on disk for workers that are no more is free again.
        reserves = sorted(path.name[-10:] for path in (gateway.state_dir / "journal").glob("*.reserve"))
        self.assertEqual(reserves, ["-0.reserve"])
        gateway.stop()
        gateway.configure(workers=3)
        gateway.start()
        self.assertEqual(len(workers_of(gateway.pid)), 3)

    def test_killed_at_start(self) -> None:
        """Workers that are killed while they start, one or all, are replaced; the gateway gets ready."""
        gateway = Gateway(self.folder(), workers=2)
        self.addCleanup(gateway.kill)
        gateway.launch()
        killed = wait_until(lambda: workers_of(gateway.pid), "the first worker")
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        gateway.wait_ready()
        self.assertEqual([pid for pid in workers_of(gateway.pid) if pid in killed], [])
        for _ in range(8):
            self.assertEqual(gateway.chat()[0], 200)

    @pytest.mark.slow
    def test_control_plane_killed_at_start(self) -> None:
        """Whenever the control plane is killed while it starts, its workers end, and the next one starts."""
        gateway = Gateway(self.folder(), workers=2)
        self.addCleanup(gateway.kill)
        for delay_s in (0.0, 0.1, 0.2, 0.4):
            gateway.launch()
            wait_until(lambda: workers_of(gateway.pid), "the first worker")
            time.sleep(delay_s)
            orphans = workers_of(gateway.pid)
            gateway.kill()
            wait_until(lambda left=orphans: all(map(gone, left)), "its workers to end", 6)
        gateway.start()
        self.assertEqual(gateway.chat()[0], 200)

    @pytest.mark.slow
    def test_control_plane_stopped(self) -> None:
        """While the control plane is stopped requests are answered; when it goes on, nobody is killed."""
        gateway = self.gateway()
        workers = workers_of(gateway.pid)
        gateway.signal(signal.SIGSTOP)
        until_s = time.monotonic() + 12
        answered = 0
        while time.monotonic() < until_s:
            self.assertEqual(gateway.chat()[0], 200)
            answered += 1
        gateway.signal(signal.SIGCONT)
        self.assertEqual(metric(gateway, "voidllm_requests_total"), answered)
        time.sleep(3)
        self.assertEqual(workers_of(gateway.pid), workers)
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), answered)

    @pytest.mark.slow
    def test_all_stopped(self) -> None:
        """A machine that sleeps wakes with the same processes, whoever wakes first."""
        gateway = self.gateway()
        workers = workers_of(gateway.pid)
        for pid in (*workers, gateway.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(8)
        for pid in (gateway.pid, *workers):
            os.kill(pid, signal.SIGCONT)
            time.sleep(1.5)
        for _ in range(8):
            self.assertEqual(gateway.chat()[0], 200)
        self.assertEqual(workers_of(gateway.pid), workers)

    @pytest.mark.slow
    def test_nothing_is_left(self) -> None:
        """Deaths of all workers at once, again and again, leave no descriptor, process or memory behind."""
        gateway = self.gateway(workers=4)

        def settled() -> tuple[int, int]:
            wait_until(lambda: metric(gateway, "voidllm_worker_up") == 4, "all workers")
            for _ in range(20):
                self.assertEqual(gateway.chat()[0], 200)
            wait_until(lambda: metric(gateway, "voidllm_client_connections") <= 2, "idle")
            return descriptors(gateway.pid), resident_kb(gateway.pid)

        readings = []
        for _ in range(4):
            # Longer than a worker that is replaced slowly has lived.
            time.sleep(5.5)
            readings.append(settled())
            for pid in workers_of(gateway.pid):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(workers_of(gateway.pid)) == 4, "the last successors")
        readings.append(settled())
        self.assertLessEqual(readings[-1][0], readings[0][0] + 2)
        self.assertLess(readings[-1][1], readings[1][1] + 3000)
        self.assertEqual(metric(gateway, "voidllm_worker_restarts_total"), 16)
        children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
        self.assertEqual(len(children), 4)


def streaming(gateway: Gateway) -> tuple[threading.Thread, list[bytes]]:
    """Begin a stream of the model ``slow``; gives who reads it, and where its whole body will be."""
    got: list[bytes] = []

    def stream() -> None:
        got.append(gateway.chat("slow", stream=True)[2])

    thread = threading.Thread(target=stream)
    thread.start()
    wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
    return thread, got


class TestEnding(Case):
    """The end of all of them together."""

    def test_drain(self) -> None:
        """A stream that runs when SIGTERM comes is told to its end; then no process is left."""
        gateway = self.gateway([mock_model("slow", self.mock().base_url, "interval-100+words-12")])
        workers = workers_of(gateway.pid)
        thread, got = streaming(gateway)
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
        thread, got = streaming(gateway)
        gateway.signal(signal.SIGTERM)
        # Two signals at once are one.
        wait_until(lambda: "stopping" in gateway.log.read_text(), "the drain to begin")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(10), 1)
        thread.join(10)
        wait_until(lambda: all(map(gone, workers)), "the workers to end", 5)
        self.assertNotIn(b"[DONE]", got[0])
        self.assertIn(b'"error"', got[0])

    @pytest.mark.slow
    def test_killed_in_drain(self) -> None:
        """Workers whose control plane is killed while they drain have 2 s and not the rest of the drain."""
        gateway = self.gateway([mock_model("slow", self.mock().base_url, "interval-100+words-4000")])
        workers = workers_of(gateway.pid)
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(gateway.chat("slow", stream=True)[2]))
        thread.start()
        wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in gateway.log.read_text(), "the drain to begin")
        gateway.kill()
        gateway.start()
        thread.join(10)
        self.assertEqual([gone(pid) for pid in workers], [True, True])
        self.assertIn(b'"error"', got[0])
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 1)
        self.assertEqual([line for line in faults_in(gateway.log.read_text()) if "is gone" not in line], [])

    @pytest.mark.slow
    def test_drain_is_over(self) -> None:
        """A stream that is not done at the end of the drain is cut with its error event, and has its row."""
        gateway = self.gateway(
            [mock_model("slow", self.mock().base_url, "interval-100+words-4000")],
            server={"proxy": {"drain_timeout": "5s"}},
        )
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(gateway.chat("slow", stream=True)[2]))
        thread.start()
        wait_until(lambda: metric(gateway, "voidllm_active_streams") == 1, "the stream to run")
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(12), 0)
        thread.join(10)
        self.assertIn(b'"server_shutdown"', got[0])
        self.assertEqual(sum(row["total_requests"] for row in gateway.usage()), 1)
        self.assertEqual(faults_in(gateway.log.read_text()), [])

    def test_relayed(self) -> None:
        """Idle connections of administrators do not hold up a drain; a reply that runs does."""
        gateway = self.gateway()
        idle = []
        for _ in range(8):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
            self.addCleanup(connection.close)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            idle.append(connection)
        # A request whose body is not there yet is running.
        slow = self.connect(gateway, 1)[0]
        head = f"POST /api/v1/keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 15\r\n\r\n".encode())
        time.sleep(0.3)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in gateway.log.read_text(), "the drain to begin")
        time.sleep(0.3)
        slow.sendall(b'{"name":"late"}')
        reply = b""
        while data := slow.recv(4096):
            reply += data
        self.assertTrue(reply.startswith(b"HTTP/1.1 "), reply)
        self.assertEqual(gateway.wait(5), 0)
        for connection in idle:
            self.assertEqual(connection.sock.recv(1), b"")

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
