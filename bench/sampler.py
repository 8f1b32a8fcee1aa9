"""Memory, descriptors and event-loop lag of the gateway while it works, and its own view of time."""

from __future__ import annotations

import http.client
import os
import re
import threading
import time
from typing import Callable, Mapping

from attrs import define, field, frozen

from .harness import family, rss_mb

#: The metric in which the gateway says how late its event loop is.
LAG = "voidllm_event_loop_lag_seconds"
#: The metric in which it says how much time it added to requests.
ADDED = "voidllm_added_seconds"
_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_BOUND = re.compile(r'\ble="([^"]+)"')


@frozen
class Histogram:
    """Cumulative counts by upper bound, all label sets together."""

    bounds: Mapping[float, float]

    def since(self, before: Histogram) -> Histogram:
        """Give what was observed after ``before`` was read."""
        return Histogram({b: n - before.bounds.get(b, 0.0) for b, n in self.bounds.items()})

    def quantile(self, share: float) -> float | None:
        """Give a quantile, straight lines within buckets as Prometheus does; ``None`` when empty."""
        ordered = sorted(self.bounds.items())
        total = ordered[-1][1] if ordered else 0.0
        if total <= 0:
            return None
        low = below = 0.0
        for bound, count in ordered:
            if count >= share * total:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * (share * total - below) / max(1e-12, count - below)
            low, below = bound, count
        return low


def parse(text: str, name: str) -> Histogram:
    """Read one histogram from the Prometheus text format."""
    bounds: dict[float, float] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found and found[1] == f"{name}_bucket" and (bound := _BOUND.search(found[2] or "")):
            le = float(bound[1])
            bounds[le] = bounds.get(le, 0.0) + float(found[3])
    return Histogram(bounds)


def number(text: str, name: str) -> float | None:
    """Read one number from the Prometheus text format: the sum over its label sets."""
    values = [float(m[3]) for m in map(_LINE.match, text.splitlines()) if m and m[1] == name]
    return sum(values) if values else None


def scrape(port: int, headers: Mapping[str, str]) -> str:
    """Get the gateway's metrics; an empty text when it does not give them in 5 s."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics", headers=dict(headers))
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
        return text if reply.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def descriptors(pid: int) -> int | None:
    """Count the open descriptors of a process and its children; ``None`` when we may not look."""
    count = 0
    for one in family(pid):
        try:
            count += len(os.listdir(f"/proc/{one}/fd"))
        except PermissionError:
            return None
        except OSError:
            continue
    return count


@frozen
class Sample:
    """The gateway at one moment.

    :ivar at: seconds from the beginning.
    :ivar lag_us: P99 of the event loop's lateness since the sample before; ``None`` when not read.
    """

    at: float
    rss_mb: float
    descriptors: int | None
    lag_us: float | None


@define
class Sampler:
    """Looks at a process every few seconds, in a thread of its own.

    Memory and descriptors are read from ``/proc`` and cost the gateway nothing. Its metrics, which do,
    are read only every ``scrape_every`` samples, and never when that is 0.

    :ivar pid: gives the process, ``None`` while there is none.
    :ivar read: gives the text of the metrics.
    """

    pid: Callable[[], int | None]
    read: Callable[[], str]
    every_s: float = 1.0
    scrape_every: int = 0
    samples: list[Sample] = field(factory=list)
    _begun: float = field(factory=time.monotonic)
    _last: Histogram | None = None
    _count: int = 0
    _ended: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first sample is taken at once."""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, with a last sample."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while True:
            ended = self._ended.is_set()
            self._take()
            if ended:
                return
            self._ended.wait(self.every_s)

    def _take(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        lag = None
        if self.scrape_every and self._count % self.scrape_every == 0:
            histogram = parse(self.read(), LAG)
            if self._last is not None:
                lag = histogram.since(self._last).quantile(0.99)
            self._last = histogram
        self._count += 1
        self.samples.append(
            Sample(
                round(time.monotonic() - self._begun, 3),
                round(rss_mb(pid), 3),
                descriptors(pid),
                None if lag is None else lag * 1e6,
            )
        )
