"""Blocks as a generator would have given them."""

from __future__ import annotations

from array import array
from random import Random
from typing import Sequence

from bench.generator import Run
from bench.measure import Block, ordered

MS = 1_000_000


def run_of(
    latencies: Sequence[int],
    *,
    rate: float = 1000,
    outcome: bytes | None = None,
    late: Sequence[int] = (),
    own_cpu_s: float = 0.0,
    watched: tuple[float, ...] = (0.0,),
    gaps: Sequence[int] = (),
    intended: Sequence[int] | None = None,
    events: int = 0,
    held: int = 0,
) -> Run:
    """Give a run with these latencies in nanoseconds, at equal distances unless ``intended`` says."""
    count = len(latencies)
    due = intended if intended is not None else [round(i * 1e9 / rate) for i in range(count)]
    return Run(
        intended_ns=array("Q", due),
        late_ns=array("Q", late or [0] * count),
        latency_ns=array("Q", latencies),
        outcome=outcome or bytes(count),
        gaps_ns=array("Q", gaps),
        busy_late_ns=array("Q", late),
        seconds=(due[-1] / 1e9 if count else 0.0) + 0.01,
        watched_cpu_s=watched,
        watched_rss_kb=tuple(0 for _ in watched),
        own_cpu_s=own_cpu_s,
        events=events,
        held=held,
    )


def block_of(
    side: str, run: Run, *, key: str = "llm", turn: int = 0, bounds: tuple[tuple[str, int, int], ...] = ()
) -> Block:
    """Give a run as a block."""
    return Block(side, key, turn, float(turn), run, bounds or (("flat", 0, len(run.outcome)),), ordered(run))


def both(added_ns: int = 300_000, blocks: int = 5, count: int = 400) -> list[Block]:
    """Give blocks of both ways; the gateway adds so much to each request."""
    rng = Random(1)
    found = []
    for turn in range(blocks):
        for side, more in (("direct", 0), ("proxied", added_ns)):
            latencies = [10 * MS + more + int(rng.expovariate(1 / 50_000)) for _ in range(count)]
            cpu = (0.01,) if side == "direct" else (0.01, 0.04, 0.02)
            run = run_of(latencies, own_cpu_s=0.004, watched=cpu, late=[20_000] * count)
            found.append(block_of(side, run, turn=turn))
    return found
