"""What the drills share: a load that remembers, a look into the store, and readings of a process."""

from __future__ import annotations

import collections
import http.client
import json
import os
import random
import re
import socket
import sqlite3
import struct
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

from tests.harness import Gateway, custom_model, request, wait_until

#: What rows are added up by.
_TEXTS = ("org_id", "team_id", "user_id", "service_account_id", "key_id", "kind", "endpoint", "model")
_GROUP = (*_TEXTS, "provider", "deployment", "status", "source")
_FOUND = tuple(
    f"coalesce({c}, '')" if c in ("team_id", "user_id", "service_account_id") else c for c in _GROUP
)
_BUCKETS = ("input", "cache_read", "cache_write", "output", "reasoning", "audio_input", "audio_output")
_SUMS = tuple(f"{bucket}_tokens" for bucket in _BUCKETS)
_PLACES = ", ".join(str(n + 1) for n in range(1 + len(_GROUP)))
ROWS_SQL = "SELECT request_id, status, error_code, source, stream FROM usage_events"
DETAIL_SQL = (
    f"SELECT day, {', '.join(_FOUND)}, count(*), {', '.join(f'sum({one})' for one in _SUMS)}, "
    f"sum(coalesce(cost_nano, 0)), sum(duration_ms) FROM usage_events GROUP BY {_PLACES}"
)
#: The widest roll-up by days, and the events that are marked to be added to it.
COUNTED_SQL = (
    f"SELECT day, {', '.join(_GROUP)}, sum(requests), {', '.join(f'sum({one})' for one in _SUMS)}, "
    f"sum(cost_nano), sum(duration_sum_ms) FROM (SELECT s.period AS day, {', '.join(_GROUP)}, requests, "
    f"{', '.join(_SUMS)}, cost_nano, duration_sum_ms FROM usage_groups g "
    "JOIN usage_sums s ON s.group_id = g.id WHERE g.rollup = 7 AND period BETWEEN 10000101 AND 99991231 "
    f"UNION ALL SELECT e.day, {', '.join(_FOUND)}, 1, {', '.join(_SUMS)}, coalesce(cost_nano, 0), "
    "duration_ms FROM usage_events e JOIN usage_pending p ON p.day = e.day AND p.id = e.id) c "
    f"GROUP BY {_PLACES}"
)
_TRACE = re.compile(r"Traceback|Unhandled", re.IGNORECASE)


def mock_model(name: str, base_url: str, faults: str = "", **more: Any) -> dict[str, Any]:
    """Describe a model whose upstream has the given faults; see ``bench/mocks/faults.py``."""
    upstream = f"mock-fault-{faults}" if faults else "mock-model"
    return custom_model(name, base_url, upstream_model=upstream, **more)


def chat_body(model: str, text: str = "hello", **more: Any) -> bytes:
    """Encode a chat completion request."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


def head(key: str, path: str, length: int, request_id: str, *fields: str) -> bytes:
    """Encode the head of a POST request."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        f"X-Request-Id: {request_id}",
        *fields,
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """Open a connection; a small receive buffer makes this a client that reads slowly."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    return sock


def reset(sock: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_all(sock: socket.socket) -> bytes:
    """Read until the other side closes or resets."""
    parts = []
    try:
        while data := sock.recv(1 << 16):
            parts.append(data)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(reply: bytes) -> int:
    """Give the status of a raw reply, 0 if there is none."""
    return int(reply[9:12]) if reply.startswith(b"HTTP/1.") else 0


class Load:
    """Clients that send one request after the other and remember how each ended.

    :param models: chosen at random for each request; every second request streams.
    :ivar started: ids of requests of which a byte was sent.
    :ivar completed: ids of requests whose whole reply was read.
    :ivar trouble: what was neither a complete reply nor a broken connection.
    """

    def __init__(self, port: int, key: str, models: Iterable[str], clients: int = 8, seed: int = 0) -> None:
        self._port = port
        self._key = key
        self._models = list(models)
        self._stopped = False
        self.started: list[str] = []
        self.completed: set[str] = set()
        self.broken = 0
        self.trouble: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n),), daemon=True)
            for n in range(clients)
        ]

    def start(self) -> Load:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let every client finish its request, then wait for all of them."""
        self._stopped = True
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    @property
    def open(self) -> set[str]:
        """Ids of requests without a complete reply."""
        return set(self.started) - self.completed

    def _run(self, rng: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stopped:
            request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            stream = rng.random() < 0.5
            body = chat_body(rng.choice(self._models), stream=stream)
            headers = {
                "authorization": f"Bearer {self._key}",
                "content-type": "application/json",
                "x-request-id": request_id,
            }
            self.started.append(request_id)
            try:
                connection.request("POST", "/v1/chat/completions", body, headers)
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection.close()
                # A gateway that is down refuses at once; do not spin.
                time.sleep(0.01)
                continue
            if reply.status != 200:
                self.trouble.append(f"{reply.status} {text[:200]!r}")
            elif reply.getheader("x-request-id") != request_id:
                self.trouble.append("another request's id")
            elif stream and b"data: [DONE]" not in text:
                self.trouble.append(f"a stream without its end: {text[-200:]!r}")
            else:
                self.completed.add(request_id)
        connection.close()


class Rows:
    """Usage rows and roll-up of a store, as the database has them."""

    def __init__(self, query: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.all = query(ROWS_SQL)
        self.detail = sorted(query(DETAIL_SQL))
        self.counted = sorted(query(COUNTED_SQL))

    @property
    def ids(self) -> collections.Counter[str]:
        """How often each request id has a row."""
        return collections.Counter(row[0] for row in self.all)

    @property
    def by_id(self) -> dict[str, tuple[Any, ...]]:
        """``request_id -> (request_id, status, error_code, source, stream)``."""
        return {row[0]: row for row in self.all}


def sqlite_rows(gateway: Gateway) -> Rows:
    """Read the rows of a gateway on SQLite straight from its file."""
    path = gateway.state_dir / "voidllm.db"

    def query(sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    return Rows(query)


def journal_bytes(gateway: Gateway) -> int:
    """Count the bytes of journal segments that are still there."""
    return sum(path.stat().st_size for path in (gateway.state_dir / "journal").glob("*.jl"))


def metrics(port: int) -> dict[str, float]:
    """Scrape a gateway: ``name{labels} -> value``."""
    status, _, text = request(port, "GET", "/metrics")
    assert status == 200, status
    pairs = (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


_LAG = re.compile(r'voidllm_event_loop_lag_seconds_bucket\{le="([^"]+)"\}')


def worst_lag(now: Mapping[str, float], before: Mapping[str, float]) -> tuple[float, float]:
    """Say between which two numbers of seconds the event loop's worst lag between two scrapes was."""
    below, reached, last = 0.0, (0.0, 0.0), 0.0
    buckets = sorted((float(found[1]), found[0]) for found in map(_LAG.fullmatch, now) if found)
    for edge, name in buckets:
        count = now[name] - before[name]
        if count > last:
            reached = (below, edge)
        below, last = edge, count
    return reached


def descriptors(pid: int) -> int:
    """Count the open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_kb(pid: int) -> int:
    """Give the resident set size of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def quiet(port: int) -> bool:
    """Whether a gateway has nothing in flight but the scrape that asks."""
    now = metrics(port)
    return now["voidllm_in_flight_requests"] <= 1 and now["voidllm_active_streams"] == 0


def wait_quiet(port: int) -> None:
    """Wait until nothing is in flight."""
    wait_until(lambda: quiet(port), "nothing to be in flight")


def faults_in(log: str) -> list[str]:
    """Find lines of a log that only a bug writes."""
    found = []
    for line in log.splitlines():
        level = json.loads(line).get("level") if line.startswith("{") else ""
        if level in ("error", "critical") or _TRACE.search(line):
            found.append(line)
    return found
