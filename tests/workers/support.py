"""What the tests of workers share."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, MockLLM, request, wait_until


def workers_of(pid: int) -> list[int]:
    """Give the process ids of a gateway's workers."""
    found, children = [], list[str]()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # A thread that has just ended.
            children += (task / "children").read_text().split()
    for child in children:
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"voidllm.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return sorted(found)


def gone(pid: int) -> bool:
    """Say whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def connections_of(pid: int) -> int:
    """Count a process' sockets that are client connections: established, on any port."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    established = 0
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        established += cells[3] == "01" and cells[9] in inodes
    return established


class Case(SynchronousTestCase):
    """A test with a gateway of several workers in a folder of its own."""

    def folder(self) -> Path:
        """Make a folder that goes with the test."""
        path = tempfile.mkdtemp(prefix="voidllm-workers-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    def gateway(
        self, models: list[dict[str, Any]] | None = None, workers: Any = 2, **settings: Any
    ) -> Gateway:
        """Start one."""
        gateway = Gateway(self.folder(), models, workers=workers, **settings)
        self.addCleanup(gateway.kill)
        return gateway.start()

    def mock(self) -> MockLLM:
        """Start an upstream."""
        mock = MockLLM()
        self.addCleanup(mock.stop)
        return mock

    def connect(self, gateway: Gateway, count: int) -> list[socket.socket]:
        """Open client connections, which the kernel spreads over the workers."""
        sockets = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
            self.addCleanup(one.close)
            sockets.append(one)
        return sockets


def metric(gateway: Gateway, name: str) -> float:
    """Give the sum of a metric over all labels."""
    status, _, page = request(gateway.port, "GET", "/metrics")
    assert status == 200, status
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page.decode(), re.M)
    assert found, name
    return sum(map(float, found))


def replaced(gateway: Gateway, dead: int, count: int, patience_s: float = 30) -> list[int]:
    """Wait until there are ``count`` workers again and none of them is ``dead``."""

    def look() -> list[int]:
        now = workers_of(gateway.pid)
        return now if len(now) == count and dead not in now else []

    return list(wait_until(look, "a worker's successor", patience_s))
