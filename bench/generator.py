"""What a load generator is told and what it gives back, whichever program generates the load.

:func:`run` uses the C program, or the slower Python one where there is no compiler.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Mapping

from attrs import frozen

from .programs import command

#: Told of requests over, requests failed, and seconds since the start.
Progress = Callable[[int, int, float], None]

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
    :ivar watch: processes whose CPU seconds and memory are taken over the measured window; at most 64.
    :ivar core: processor that the generator stays on.
    :ivar events: how many events a stream must have; 0 for as many as the longest one has.
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
    events: int = 0


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
    :ivar seconds: length of the measured window: from the moment the first measured request was due
        until the last one was over.
    :ivar watched_cpu_s: CPU seconds of each watched process in the window.
    :ivar watched_rss_kb: resident memory of each at its end.
    :ivar own_cpu_s: CPU seconds of the generator in the window.
    :ivar events: events received in the window, of streams.
    :ivar events_lost: events that never came.
    :ivar generator: ``c`` or ``python``.
    :ivar held: most requests under way at one time, which of streams are those held.
    :ivar reply_bytes: length of every good reply's body, 0 of streams.
    :ivar capacity_rps: what the Python generator could drive, by its own test at the start; 0 of the
        C program, which :func:`calibrate` measures.
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
    held: int = 0
    reply_bytes: int = 0
    capacity_rps: float = 0.0

    @property
    def errors(self) -> Mapping[str, int]:
        """Count what did not go well, by kind."""
        counted = {kind: self.outcome.count(index) for index, kind in enumerate(OUTCOMES) if index}
        return {kind: count for kind, count in counted.items() if count}

    @property
    def achieved_rps(self) -> float:
        """Give good replies a second, until the last of them came or the last request was due.

        Of streams: first events.
        """
        answered = zip(self.intended_ns, self.latency_ns, self.outcome, strict=True)
        last = max((due + took for due, took, outcome in answered if not outcome), default=0)
        span_ns = max(last, self.intended_ns[-1]) - self.intended_ns[0]
        return self.outcome.count(0) / (span_ns / 1e9) if span_ns else 0.0


@frozen
class ClosedRun:
    """What a closed loop gave.

    :ivar latency_ns: of good replies in the window, from sending, shortest first.
    :ivar completed: good replies in the window.
    :ivar errors: what did not go well, by kind, in the whole run.
    """

    latency_ns: array[int]
    completed: int
    seconds: float
    errors: Mapping[str, int]
    watched_cpu_s: tuple[float, ...]
    watched_rss_kb: tuple[int, ...]
    own_cpu_s: float
    generator: str = "c"

    @property
    def rps(self) -> float:
        """Give good replies a second."""
        return self.completed / self.seconds


class GeneratorFailed(Exception):
    """The load generator did not run to its end; the text says why."""


def run(job: Job, progress: Progress | None = None) -> Run:
    """Send a job's requests when they are due, and give what became of them.

    :param progress: called about five times a second. What it raises ends the run and comes out again,
        as ``KeyboardInterrupt`` does.
    :raises GeneratorFailed: the generator did not run to its end.
    """
    if job.skip >= len(job.arrivals):
        raise GeneratorFailed("the schedule has nothing to measure")
    with TemporaryDirectory(prefix="voidllm-bench-") as folder:
        arrivals, samples = Path(folder, "arrivals"), Path(folder, "samples")
        arrivals.write_bytes(_little_endian(job.arrivals).tobytes())
        words = ["--arrivals", str(arrivals), "--samples", str(samples), "--progress", "1"]
        words += ["--skip", str(job.skip), "--timeout", str(job.timeout_s), "--events", str(job.events)]
        words += ["--stream", str(int(job.stream)), "--connections", str(job.connections)]
        words += _common(Path(folder), job.port, job.body, job.headers, job.watch, job.core, job.path)
        got, program = _generate("schedule", words, progress)
        return _read(job, got, samples, program)


def closed(
    port: int,
    body: bytes,
    headers: tuple[str, ...] = (),
    connections: int = 256,
    seconds: float = 5.0,
    watch: tuple[int, ...] = (),
    core: int | None = None,
    path: str = "/v1/chat/completions",
    warmup: float = 0.5,
) -> ClosedRun:
    """Let every connection ask again as soon as it has its reply.

    :raises GeneratorFailed: the generator did not run to its end.
    """
    with TemporaryDirectory(prefix="voidllm-bench-") as folder:
        samples = Path(folder, "samples")
        words = ["--seconds", str(seconds), "--warmup", str(warmup), "--connections", str(connections)]
        words += ["--samples", str(samples), *_common(Path(folder), port, body, headers, watch, core, path)]
        got, program = _generate("closed", words, None)
        return ClosedRun(
            latency_ns=array("Q", sorted(_numbers(samples.read_bytes()))),
            completed=got["completed"],
            seconds=got["seconds"],
            errors=got["errors"],
            watched_cpu_s=tuple(got["watched_cpu_s"]),
            watched_rss_kb=tuple(got["watched_rss_kb"]),
            own_cpu_s=got["cpu_s"],
            generator=program,
        )


@frozen
class Capacity:
    """What generator and mock can do with nothing between them.

    :ivar rps: requests a second in a closed loop without delay: more than that no gateway can be offered.
    :ivar generator_us: the generator's CPU microseconds for each of them; ``mock_us``: the mock's.
    :ivar rate: requests a second of the open loop that the other figures are from.
    :ivar late_p50_us: how late the generator sent, of requests for which a connection was free.
    :ivar rate_generator_us: its CPU microseconds for each request at that rate.
    :ivar mock_late_p50_us: how late the mock's timers were.
    """

    generator: str
    rps: float
    generator_us: float
    mock_us: float
    rate: float
    late_p50_us: float
    late_p99_us: float
    rate_generator_us: float
    rate_mock_us: float
    mock_late_p50_us: float
    mock_late_p99_us: float


def calibrate(
    mock_port: int, rate: float = 1000.0, seconds: float = 1.0, core: int | None = None
) -> Capacity:
    """Measure generator and mock alone, in about twice ``seconds``; the mock's delay is as before then.

    :raises GeneratorFailed: the generator did not run to its end, or requests failed.
    """
    body = b'{"model":"mock","messages":[]}'
    before = mock_counters(mock_port)
    begun = mock_counters(mock_port, delay_us=0)
    try:
        flat_out = closed(mock_port, body, connections=64, seconds=seconds, core=core, warmup=0.1)
    finally:
        ended = mock_counters(mock_port, delay_us=before["delay_us"], reset=1)
    arrivals = array("Q", (int(n / rate * 1e9) for n in range(max(2, int(rate * seconds)))))
    paced = run(Job(mock_port, body, arrivals, skip=len(arrivals) // 10, core=core))
    after = mock_counters(mock_port, reset=1)
    if flat_out.errors or paced.errors or not flat_out.completed:
        raise GeneratorFailed(f"requests to the mock alone failed: {flat_out.errors} {paced.errors}")
    late = sorted(paced.busy_late_ns) or [0]
    return Capacity(
        generator=paced.generator,
        rps=flat_out.rps,
        generator_us=flat_out.own_cpu_s * 1e6 / flat_out.completed,
        mock_us=(ended["cpu_s"] - begun["cpu_s"]) * 1e6 / (ended["requests"] - begun["requests"]),
        rate=rate,
        late_p50_us=late[len(late) // 2] / 1e3,
        late_p99_us=late[len(late) * 99 // 100] / 1e3,
        rate_generator_us=paced.own_cpu_s * 1e6 / len(paced.outcome),
        rate_mock_us=(after["cpu_s"] - ended["cpu_s"]) * 1e6 / len(arrivals),
        mock_late_p50_us=after["late_p50_us"],
        mock_late_p99_us=after["late_p99_us"],
    )


def mock_counters(port: int, **settings: int) -> dict[str, Any]:
    """Give the mock's counters after changing ``delay_us``, ``events`` or ``interval_us``.

    ``late_…`` tells how late its timers were since the last ``reset=1``.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        connection.request("GET", f"/config?{query}")
        got: dict[str, Any] = json.loads(connection.getresponse().read())
        return got
    finally:
        connection.close()


def _common(
    folder: Path,
    port: int,
    body: bytes,
    headers: tuple[str, ...],
    watch: tuple[int, ...],
    core: int | None,
    path: str,
) -> list[str]:
    (folder / "body").write_bytes(body)
    (folder / "headers").write_bytes("".join(f"{line}\r\n" for line in headers).encode("latin-1"))
    words = ["--port", str(port), "--path", path]
    words += ["--body", str(folder / "body"), "--headers", str(folder / "headers")]
    words += [word for pid in watch for word in ("--watch", str(pid))]
    return words + (["--core", str(core)] if core is not None else [])


def _generate(mode: str, words: list[str], progress: Progress | None) -> tuple[Any, str]:
    """Run the generator to its end and give its JSON and which one it was."""
    program = command("load")
    child = subprocess.Popen(
        [*program.words, mode, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program.environ,
        text=True,
    )
    said = ""
    with child:
        try:
            assert child.stdout is not None and child.stderr is not None
            for line in child.stderr:
                if line.startswith("progress "):
                    done, failed, seconds = line.split()[1:]
                    if progress is not None:
                        progress(int(done), int(failed), float(seconds))
                else:
                    said += line
            text = child.stdout.read()
            status = child.wait()
        except BaseException:
            child.kill()
            raise
    if status:
        raise GeneratorFailed(f"the load generator ended with status {status}: {said[-2000:].strip()}")
    return json.loads(text), program.kind


def _read(job: Job, got: Any, file: Path, program: str) -> Run:
    data, count = file.read_bytes(), got["requests"]
    late, latency = _numbers(data[: 8 * count]), _numbers(data[8 * count : 16 * count])
    outcome, was_free = data[16 * count : 17 * count], data[17 * count : 18 * count]
    return Run(
        intended_ns=job.arrivals[job.skip :],
        late_ns=late,
        latency_ns=latency,
        outcome=outcome,
        gaps_ns=_numbers(data[18 * count :]),
        busy_late_ns=array("Q", (ns for ns, free in zip(late, was_free, strict=True) if free)),
        seconds=got["seconds"],
        watched_cpu_s=tuple(got["watched_cpu_s"]),
        watched_rss_kb=tuple(got["watched_rss_kb"]),
        own_cpu_s=got["cpu_s"],
        events=got["events"],
        events_lost=got["events_lost"],
        generator=program,
        held=got["held"],
        reply_bytes=got["reply_bytes"],
        capacity_rps=got.get("capacity_rps", 0.0),
    )


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return numbers
    swapped = array("Q", numbers)
    swapped.byteswap()
    return swapped


def _numbers(data: bytes) -> array[int]:
    numbers = array("Q")
    numbers.frombytes(data)
    return _little_endian(numbers)
