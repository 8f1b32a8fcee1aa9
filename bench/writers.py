"""Administrators who make, change and revoke keys, one request after the other each; run as a program.

Prints one JSON object: how many requests each status had, and percentiles of their time.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import threading
import time
from typing import Any


class Writers:
    """Threads with a connection each.

    :param key: of an administrator.
    :ivar statuses: how often each status came; 0 for a connection that broke.
    :ivar times_ms: of each request.
    """

    def __init__(self, port: int, key: str, count: int, pause_s: float = 0.0) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.times_ms: list[float] = []
        self.revoked = 0
        self._port = port
        self._pause_s = pause_s
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(count)]

    def start(self) -> Writers:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End after the requests that run."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        turn = 0
        while not self._over.is_set():
            turn += 1
            made = self._ask(connection, "POST", "/api/v1/keys", {"name": f"writer {number}, key {turn}"})
            if made is None:
                continue
            path = f"/api/v1/keys/{made['id']}"
            self._ask(connection, "PATCH", path, {"name": f"writer {number}, key {turn}, changed"})
            self._ask(connection, "DELETE", path, None)
            self.revoked += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
        begun = time.perf_counter()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            reply = connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.statuses[0] += 1
            self._over.wait(0.05)
            return None
        self.statuses[reply.status] += 1
        self.times_ms.append((time.perf_counter() - begun) * 1000)
        self._over.wait(self._pause_s)
        return json.loads(text) if reply.status in (200, 201) else None


def main() -> None:
    """Write for as long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two requests of one")
    options = parser.parse_args()
    # Generator and mock come first: it is their times that are compared.
    os.nice(10)
    writers = Writers(options.port, os.environ["BENCH_ADMIN_KEY"], options.count, options.pause).start()
    time.sleep(options.seconds)
    writers.stop()
    times = sorted(writers.times_ms) or [0.0]
    share = {name: times[int(len(times) * at)] for name, at in (("p50", 0.5), ("p99", 0.99))}
    print(json.dumps({"statuses": writers.statuses, "requests": len(writers.times_ms), "times_ms": share}))


if __name__ == "__main__":
    main()
