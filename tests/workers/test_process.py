"""What a worker's process is, seen from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from tests.harness import Gateway, request, wait_until
from tests.workers.support import Case, replaced, workers_of


def targets(pid: int) -> dict[int, str]:
    """Say what each descriptor of a process is."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        # Connections come and go.
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


class TestProcess(Case):
    """What it has, and what it has not."""

    def test_descriptors(self) -> None:
        """It has its own socket, its lines, the table and the lock: nothing of the store or of others."""
        os.environ["VOIDLLM_TEST_SECRET"] = "hush"
        self.addCleanup(os.environ.pop, "VOIDLLM_TEST_SECRET")
        gateway = self.gateway(workers=3)
        workers = workers_of(gateway.pid)
        parents = set(targets(gateway.pid).values())
        seen: list[set[str]] = []
        for pid in workers:
            has = targets(pid)
            state = str(gateway.state_dir)
            files = {name for name in has.values() if name.startswith(state)}
            own = rf"{state}/(control\.lock|journal/.*-{workers.index(pid) + 1}(-.*-\d+\.jl|\.reserve))"
            self.assertEqual([name for name in files if not re.fullmatch(own, name)], [])
            # The one socket that is the parent's, too, is where it listens.
            sockets = {name for name in has.values() if name.startswith("socket:")}
            self.assertEqual(len(sockets & parents), 1)
            for others in seen:
                self.assertEqual(sockets & others, set())
            seen.append(sockets)
            limits = Path(f"/proc/{pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size +0 +0 ")
            self.assertNotIn(b"VOIDLLM_", Path(f"/proc/{pid}/environ").read_bytes())
            if os.geteuid() != 0:
                continue
            # The kernel gives a process that is not dumpable to root.
            self.assertEqual(os.stat(f"/proc/{pid}/environ").st_uid, 0)

    def test_named(self) -> None:
        """Its log lines say which one it is; the status names it with its process."""
        gateway = self.gateway(logging={"level": "debug"})
        dead = workers_of(gateway.pid)[0]
        client = Operator(str(gateway.state_dir / "control.sock"))
        self.addCleanup(client.close)
        told = client.ask("/api/v1/status")["workers"]
        self.assertEqual([(one["worker"], one["ready"]) for one in told], [(1, True), (2, True)])
        self.assertEqual(sorted(one["pid"] for one in told), workers_of(gateway.pid))
        os.kill(dead, signal.SIGKILL)
        replaced(gateway, dead, 2)
        wait_until(lambda: all(one["ready"] for one in client.ask("/api/v1/status")["workers"]), "both")
        orphans = workers_of(gateway.pid)
        gateway.kill()
        wait_until(lambda: gateway.log.read_text().count("control plane is gone") == 2, "last words")
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        last = [line for line in lines if "control plane is gone" in line["message"]]
        self.assertEqual(sorted(line["worker"] for line in last), [1, 2])
        self.assertNotIn("worker", next(line for line in lines if "is ready on" in line["message"]))
        self.assertEqual(len(orphans), 2)

    def test_text(self) -> None:
        """The same in a log for people."""
        gateway = self.gateway(logging={"format": "text"})
        gateway.kill()
        wait_until(lambda: "error    [2] voidllm.worker: " in gateway.log.read_text(), "last words")


class Operator(http.client.HTTPConnection):
    """Speaks to the control socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def ask(self, path: str) -> Any:
        """Give what is at ``path``."""
        self.request("GET", path)
        reply = self.getresponse()
        assert reply.status == 200, reply.status
        return json.loads(reply.read())


class TestManager(Case):
    """What a service manager is told."""

    def test_notified(self) -> None:
        """READY comes when every worker answers, signs of life then, STOPPING before the end."""
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(heard.close)
        path = str(self.folder() / "notify")
        heard.bind(path)
        heard.settimeout(20)
        gateway = Gateway(self.folder(), workers=2)
        self.addCleanup(gateway.kill)
        gateway.launch({**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
        self.assertIn(b"READY=1", heard.recv(1000))
        statuses = [request(gateway.port, "GET", "/v1/models")[0] for _ in range(12)]
        # Not 503: each of them knows that nobody has no key.
        self.assertEqual(statuses, [401] * 12)
        self.assertEqual([heard.recv(1000) for _ in range(3)], [b"WATCHDOG=1"] * 3)
        gateway.signal(signal.SIGTERM)
        said = b""
        while not said.startswith(b"STOPPING=1"):
            said = heard.recv(1000)
        self.assertEqual(gateway.wait(), 0)
