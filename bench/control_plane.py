"""100,000 keys, changes on their way to where requests are answered, and fifty administrators who write."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from attrs import define

from . import generator
from .crowd import ORGS, TEAMS, fill
from .gateway import Gateway
from .harness import ROOT, Failed
from .pauses import worst_ms
from .progress import Progress
from .rig import Rig
from .schedules import Leg, draw
from .stats import percentile
from .subjects import LLM, SMALL, chat_body
from .verdicts import Figures

KEYS = 100_000
CHANGES = 100
WRITERS = 50
#: Idle and busy in turn.
TURNS = 3
_READ = re.compile(r"(\d+) keys were read in ([\d.]+) s")


@define
class ControlPlane:
    """One measurement after the other.

    :ivar rate: requests a second beside the writers.
    :ivar seconds: of load with and without writers each, all blocks together.
    """

    rig: Rig
    progress: Progress
    figures: Figures
    rate: float
    seconds: float

    def measure(self) -> None:
        """Measure everything."""
        self._crowd("one process", None)
        self._crowd("2 workers", "2")
        self._writers()

    # -- many keys

    def _crowd(self, title: str, workers: str | None) -> None:
        self.progress.phase(f"{KEYS:,} keys, {title}")
        folder = self.rig.folder / f"crowd-{workers or 1}"
        watch = folder / "pauses"
        gateway = Gateway(folder, self.rig.mock.port, name="crowd", workers=workers)
        gateway.start(chat_body(SMALL))
        gateway.stop()
        fill(gateway.state / "voidllm.db", KEYS)
        gateway.watch = watch
        gateway.start(chat_body(SMALL))
        try:
            self._loaded(gateway, title)
            key = gateway.admin_key()
            since_s = time.monotonic()
            self._changes(gateway, title, key)
            self._again(gateway, title)
            pauses = [worst_ms(watch, pid, since_s) for pid in gateway.pids()]
            note = "of CPU time, while keys change and all are read again"
            self.figures.add(
                f"{title}: longest pause of the collector", max(pauses), "ms", most=20, note=note
            )
        finally:
            gateway.stop()

    def _loaded(self, gateway: Gateway, title: str) -> None:
        (count, seconds) = _READ.findall(gateway.log.read_text())[-1]
        used = _cpu_s(gateway.pid or 0)
        note = (
            f"{int(count):,} keys, {ORGS} organisations, {TEAMS:,} teams; {used:.1f} s of CPU since the start"
        )
        self.figures.add(f"{title}: all keys are read in", float(seconds), "s", most=5, note=note)
        self._memory(gateway, f"{title}: memory of the largest process")

    def _memory(self, gateway: Gateway, name: str) -> None:
        time.sleep(1)
        each = [_own_mb(pid) for pid in _own(gateway)]
        note = ", ".join(f"{mb:.0f}" for mb in each)
        self.figures.add(name, max(each), "MB", most=250, note=f"each: {note}")

    def _changes(self, gateway: Gateway, title: str, key: str) -> None:
        """Make keys one by one, and use each at once until it is known."""
        taken_ms = []
        with closing(_connect(gateway)) as admin, closing(_connect(gateway)) as caller:
            for number in range(CHANGES):
                made = _ask(admin, key, "POST", "/api/v1/keys", {"name": f"change {number}"})
                begun = time.perf_counter()
                while _status(caller, made["key"]) != 200:
                    if time.perf_counter() - begun > 5:
                        raise Failed("a new key is not known after 5 s")
                taken_ms.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.02)
        taken_ms.sort()
        note = f"P50 {median(taken_ms):.1f} ms, longest {taken_ms[-1]:.1f} ms, from reply to first use"
        name = f"{title}: a change is in force after, P90"
        self.figures.add(name, taken_ms[len(taken_ms) * 9 // 10], "ms", most=50, note=note)

    def _again(self, gateway: Gateway, title: str) -> None:
        """Have everything read again while requests are answered."""
        known = len(_READ.findall(gateway.log.read_text()))
        with closing(sqlite3.connect(gateway.state / "voidllm.db", timeout=10)) as store, store:
            store.execute("UPDATE change_version SET version = version + 1")
        key = gateway.headers["Authorization"].removeprefix("Bearer ")
        taken_ms, until_s = [], time.monotonic() + 60
        with closing(_connect(gateway)) as caller:
            while len(_READ.findall(gateway.log.read_text())) == known:
                if time.monotonic() > until_s:
                    raise Failed("the keys were not read again within a minute")
                begun = time.perf_counter()
                _status(caller, key)
                taken_ms.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.005)
        taken_ms.sort()
        note = f"P50 {median(taken_ms):.2f} ms, longest {taken_ms[-1]:.1f} ms"
        name = f"{title}: a request while all are read again, P99"
        self.figures.add(name, taken_ms[len(taken_ms) * 99 // 100], "ms", note=note)
        self._memory(gateway, f"{title}: memory after that")

    # -- many writers

    def _writers(self) -> None:
        self.progress.phase(f"{WRITERS} administrators beside {self.rate:,.0f} rps")
        gateway = self.rig.gateway
        key = gateway.admin_key()
        self.rig.pin(True)
        block_s = self.seconds / TURNS
        self._load(min(3.0, block_s))
        idle, busy, statuses = [], [], dict[str, int]()
        for turn in range(TURNS):
            self.progress.block("writers", "idle", turn, TURNS)
            idle.append(self._load(block_s))
            self.progress.block("writers", "busy", turn, TURNS)
            with _Writing(gateway.port, key, block_s + 2) as writing:
                time.sleep(1)
                busy.append(self._load(block_s))
            for status, count in writing.found["statuses"].items():
                statuses[status] = statuses.get(status, 0) + count
        p50 = [median(run[0] for run in runs) / 1e3 for runs in (idle, busy)]
        p99 = [median(run[1] for run in runs) / 1e3 for runs in (idle, busy)]
        errors = sum(run[2] for run in (*idle, *busy))
        note = f"idle {p50[0]:,.0f} us, with writers {p50[1]:,.0f} us"
        self.figures.add("P50 with writers, times idle", p50[1] / p50[0], "", most=1.5, note=note)
        self.figures.add("P99 with writers", p99[1], "us", note=f"idle {p99[0]:,.0f} us")
        self.figures.add("errors on the hot path", errors, "", most=0)
        bad = sum(count for status, count in statuses.items() if status not in ("200", "201", "204"))
        self.figures.add("administrators' requests that failed", bad, "", most=0, note=f"{statuses}")
        locked = gateway.log.read_text().count("locked")
        self.figures.add("locked database", locked, "", most=0)

    def _load(self, seconds: float) -> tuple[float, float, int]:
        """Give P50 and P99 in ns, and how many requests failed."""
        side = self.rig.proxied()
        arrivals = draw((Leg("flat", seconds, self.rate),), Random(1)).arrivals
        job = generator.Job(
            port=side.port,
            body=chat_body(SMALL),
            arrivals=arrivals,
            path=side.path_of(LLM) or "",
            headers=side.headers,
        )
        run = generator.run(job)
        ordered = sorted(run.latency_ns)
        return percentile(ordered, 0.5), percentile(ordered, 0.99), sum(run.errors.values())


class _Writing:
    """The writers as a process of their own.

    :ivar found: what they say at the end.
    """

    def __init__(self, port: int, key: str, seconds: float) -> None:
        module = f"{__package__}.writers"
        self.found: dict[str, Any] = {}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                module,
                "--port",
                str(port),
                "--count",
                str(WRITERS),
                "--seconds",
                f"{seconds}",
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "BENCH_ADMIN_KEY": key},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent,
        )

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._process.kill()
        said = self._process.communicate(timeout=120)[0]
        if error[0] is None:
            self.found = json.loads(said)


def _own_mb(pid: int) -> float:
    """Give the resident memory of one process, without its children's."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _cpu_s(pid: int) -> float:
    """Give the CPU time that a process has used since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own(gateway: Gateway) -> list[int]:
    return [pid for pid in (gateway.pid, *gateway.worker_pids()) if pid is not None]


def _connect(gateway: Gateway) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)


def _ask(connection: http.client.HTTPConnection, key: str, method: str, path: str, value: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(value), headers)
    reply = connection.getresponse()
    text = reply.read()
    if reply.status not in (200, 201):
        raise Failed(f"{method} {path} was answered with {reply.status}")
    return json.loads(text)


def _status(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
    reply = connection.getresponse()
    reply.read()
    return reply.status
