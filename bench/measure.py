"""A phase: blocks of load on the direct and on the proxied way, in turn, and what became of them."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Callable, Mapping, Protocol, Sequence

from attrs import field, frozen

from . import generator
from .generator import Job, Run
from .harness import children
from .schedules import Leg, Schedule, draw
from .subjects import SMALL, Subject, body_of, headers_of

DIRECT, PROXIED = "direct", "proxied"
_WARMUP = "warmup"


@frozen
class Part:
    """One kind of load; the parts of a phase run in parallel.

    :ivar key: name in the results.
    :ivar legs: the schedule of a block of so many seconds.
    :ivar connections: most; ``None`` for as many as the rate needs.
    """

    key: str
    subject: Subject
    legs: Callable[[float], tuple[Leg, ...]]
    size: int = SMALL
    stream: bool = False
    connections: int | None = None


@frozen
class Phase:
    """What is measured together.

    :ivar seconds: of load on the proxied way, all blocks together.
    :ivar direct_share: length of a direct block by that of a proxied one.
    :ivar warmup_s: of each block, but at most a quarter of it: sent and checked, but in no figure. Of
        streams it must be longer than a stream, so that as many run at the beginning as at the end.
    :ivar life_s: how long a request takes at least, for the number of connections.
    :ivar sample_s: how often the gateway is looked at.
    :ivar scrape_every: every how many looks its metrics are read; 0 for only between blocks.
    :ivar tokens: events that a stream must have, ``token_ms`` milliseconds apart.
    """

    title: str
    parts: tuple[Part, ...]
    seconds: float
    blocks: int = 5
    direct_share: float = 1.0
    warmup_s: float = 0.4
    life_s: float = 0.05
    sample_s: float = 1.0
    scrape_every: int = 0
    tokens: int = 0
    token_ms: float = 0.0

    def block_s(self, side: str) -> float:
        """Give the length of a block on a way."""
        return self.seconds / self.blocks * (self.direct_share if side == DIRECT else 1.0)


@frozen
class Side:
    """A way to the mock: none between, the gateway, a peer.

    :ivar path_of: gives the request target of a subject, ``None`` when this way does not have it.
    :ivar watch: gives the processes whose CPU and memory count.
    """

    name: str
    port: int
    headers: tuple[str, ...]
    path_of: Callable[[Subject], str | None]
    watch: Callable[[], tuple[int, ...]] = tuple


@frozen
class Block:
    """One run of the generator.

    :ivar began: seconds since the phase began.
    :ivar bounds: of the schedule's legs, by index into the run's arrays.
    """

    side: str
    key: str
    turn: int
    began: float
    run: Run
    bounds: tuple[tuple[str, int, int], ...]
    ordered: Sequence[int] = field(repr=False)

    @property
    def mock_cpu_s(self) -> float:
        """CPU seconds of the mock in the window."""
        return self.run.watched_cpu_s[0] if self.run.watched_cpu_s else 0.0

    @property
    def server_cpu_s(self) -> float:
        """CPU seconds of what stands between, in the window."""
        return sum(self.run.watched_cpu_s[1:])


class Tell(Protocol):
    """Is told how a phase goes on."""

    def block(self, phase: str, side: str, done: int, of: int) -> None:
        """A block begins."""

    def count(self, key: str, done: int, failed: int) -> None:
        """So many requests of this block have been answered, and so many of them wrongly."""


def schedule(part: Part, phase: Phase, seconds: float, seed: str | None) -> tuple[Schedule, int]:
    """Draw a block's schedule, with its warm-up.

    :param seed: ``None`` for requests at equal distances.
    :returns: the schedule, and how many of its first requests are warm-up.
    """
    legs = part.legs(seconds)
    warmup_s = phase.warmup_s if part.stream else min(phase.warmup_s, seconds / 4)
    warm = Leg(_WARMUP, warmup_s, legs[0].rate)
    drawn = draw((warm, *legs), None if seed is None else Random(seed))
    return drawn, drawn.count(_WARMUP)


def connections(part: Part, phase: Phase, seconds: float) -> int:
    """Give as many connections as the highest rate needs, with room for a stall."""
    if part.connections is not None:
        return part.connections
    peak = max(max(leg.rate, leg.end_rate or 0) for leg in part.legs(seconds))
    return int(min(4096, max(32, peak * phase.life_s * 1.5 + 16)))


def run_phase(
    phase: Phase,
    sides: Sequence[Side],
    mock_pid: int,
    core: int | None,
    tell: Tell,
    seed: int,
    done: list[Block],
    *,
    even: bool = False,
) -> None:
    """Measure all sides in turn, there and back again, so that drift hits them alike.

    :param core: where the generator runs.
    :param even: requests leave at equal distances instead of at random.
    :param done: gets the blocks one by one, so that those measured before an interruption are there.
    :raises GeneratorFailed: the generator did not run to its end.
    """
    begun = time.monotonic()
    total = phase.blocks * len(sides)
    for turn in range(phase.blocks):
        for place, side in enumerate(sides if turn % 2 == 0 else list(reversed(sides))):
            parts = [part for part in phase.parts if side.path_of(part.subject) is not None]
            if not parts:
                continue
            seconds = phase.block_s(side.name)
            tell.block(phase.title, side.name, turn * len(sides) + place, total)
            began = time.monotonic() - begun
            jobs = []
            for part in parts:
                drawn, skip = schedule(part, phase, seconds, None if even else f"{seed}-{turn}-{part.key}")
                jobs.append((part, drawn, skip))
            runs = _together(
                [
                    (
                        part.key,
                        Job(
                            port=side.port,
                            body=body_of(part.subject, part.size, stream=part.stream),
                            arrivals=drawn.arrivals,
                            path=side.path_of(part.subject) or "",
                            headers=(*headers_of(part.subject), *side.headers),
                            skip=skip,
                            connections=connections(part, phase, seconds),
                            stream=part.stream,
                            events=phase.tokens if part.stream else 0,
                            watch=(mock_pid, *side.watch()),
                            core=core,
                        ),
                    )
                    for part, drawn, skip in jobs
                ],
                tell,
            )
            for (part, drawn, skip), run in zip(jobs, runs, strict=True):
                bounds = tuple((n, a - skip, b - skip) for n, a, b in drawn.bounds if n != _WARMUP)
                done.append(Block(side.name, part.key, turn, began, run, bounds, ordered(run)))


def ordered(run: Run) -> list[int]:
    """Give the latencies of good replies, ascending."""
    if not any(run.outcome):
        return sorted(run.latency_ns)
    return sorted(ns for ns, outcome in zip(run.latency_ns, run.outcome, strict=True) if outcome == 0)


def _together(jobs: Sequence[tuple[str, Job]], tell: Tell) -> list[Run]:
    def one(key: str, job: Job) -> Run:
        return generator.run(job, lambda done, failed, seconds: tell.count(key, done, failed))

    if len(jobs) == 1:
        return [one(*jobs[0])]
    before = set(children(os.getpid()))
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(one, key, job) for key, job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # The threads wait for their generators, which know nothing of an interruption.
            for pid in set(children(os.getpid())) - before:
                os.kill(pid, signal.SIGKILL)
            raise


def by_side(blocks: Sequence[Block], key: str) -> Mapping[str, list[Block]]:
    """Sort the blocks of one part by side."""
    found: dict[str, list[Block]] = {}
    for block in blocks:
        if block.key == key:
            found.setdefault(block.side, []).append(block)
    return found
