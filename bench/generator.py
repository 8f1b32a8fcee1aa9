"""What a load generator is told and what it gives back, whichever program generates the load.

:func:`run` uses the C program, or the slower Python one where there is no compiler.
"""

from __future__ import annotations

from array import array
from typing import Mapping

from attrs import frozen

#: What became of a request; the index is what ``Run.outcome`` holds.
OUTCOMES = ("ok", "connect", "status", "length", "body", "cut", "protocol", "timeout", "lost")


@frozen
class Job:
    """An open loop: requests leave at their own times, whatever became of earlier ones.

    :ivar path: request target; the method is POST.
    :ivar body: the same for every request.
    :ivar headers: whole lines, ``Name: value``.
    :ivar arrivals: when each request is meant to be sent, nanoseconds from the start, ascending
        (``array('Q')``).
    :ivar skip: how many of the first arrivals are warm-up: sent and checked, but in no figure.
    :ivar connections: most connections; they are opened before the first arrival.
    :ivar stream: replies are event streams with one token an event, as the mock sends them.
    :ivar timeout_s: a reply that is not complete so long after it was due is an error.
    :ivar watch: processes whose CPU seconds and memory are taken over the measured window.
    """

    port: int
    body: bytes
    arrivals: array[int]
    path: str = "/v1/chat/completions"
    headers: tuple[str, ...] = ()
    skip: int = 0
    connections: int = 256
    stream: bool = False
    timeout_s: float = 30.0
    watch: tuple[int, ...] = ()
    core: int | None = None


@frozen
class Run:
    """What was measured; arrays have one entry for each measured request, in order of arrival.

    Latencies count from the intended moment, so a slow server cannot slow the generator down.

    :ivar intended_ns: copy of the measured part of ``Job.arrivals``.
    :ivar late_ns: how long after the intended moment it was really sent: waiting for a free
        connection and the generator's own lateness.
    :ivar latency_ns: from the intended moment to the last byte; of streams to the first event.
    :ivar outcome: an index into :data:`OUTCOMES` each.
    :ivar gaps_ns: of streams: lateness of every event but the first against the mock's clock.
    :ivar busy_late_ns: lateness of those requests for which a connection was free: the
        generator's own fault, by which its saturation is known.
    :ivar seconds: length of the measured window.
    :ivar watched_cpu_s: CPU seconds of each watched process in the window.
    :ivar watched_rss_kb: resident memory of each at its end.
    :ivar own_cpu_s: CPU seconds of the generator in the window.
    :ivar events: events received in the window, of streams.
    :ivar events_lost: events that never came.
    :ivar generator: ``c`` or ``python``.
    """

    intended_ns: array[int]
    late_ns: array[int]
    latency_ns: array[int]
    outcome: bytes
    gaps_ns: array[int]
    busy_late_ns: array[int]
    seconds: float
    watched_cpu_s: tuple[float, ...]
    watched_rss_kb: tuple[int, ...]
    own_cpu_s: float
    events: int = 0
    events_lost: int = 0
    generator: str = "c"

    @property
    def errors(self) -> Mapping[str, int]:
        """Count what did not go well, by kind."""
        counted = {kind: self.outcome.count(index) for index, kind in enumerate(OUTCOMES) if index}
        return {kind: count for kind, count in counted.items() if count}

    @property
    def achieved_rps(self) -> float:
        """Give good replies a second."""
        return self.outcome.count(0) / self.seconds
