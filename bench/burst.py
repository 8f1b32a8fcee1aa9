"""A burst by its legs, and how long the gateway needs to be as before."""

from __future__ import annotations

from statistics import median
from typing import Any, Sequence

from .figures import points_of, us
from .measure import Block, by_side
from .stats import percentile

#: Windows in which the P99 is looked at, in parts of the baseline: half a second of thirty.
_WINDOWS = 60
#: Requests of a window; the P99 of fewer says nothing.
_LEAST = 25


def burst_figures(blocks: Sequence[Block], key: str) -> dict[str, Any]:
    """Give for each way its legs and its recovery."""
    found = {}
    for name, of_side in by_side(blocks, key).items():
        passes = [recovery_s(block) for block in of_side]
        known = [seconds for seconds in passes if seconds is not None]
        found[name] = {
            "legs": legs_of(of_side),
            "recovery_s": {
                "passes": passes,
                "median": round(median(known), 3) if known else None,
                "max": max(known) if known and len(known) == len(passes) else None,
            },
        }
    return found


def legs_of(blocks: Sequence[Block]) -> dict[str, Any]:
    """Give the figures of each leg over all passes."""
    found: dict[str, Any] = {}
    for name in [bound[0] for bound in blocks[0].bounds] if blocks else []:
        latencies: list[int] = []
        sent, seconds, late = 0, 0.0, 0
        for block in blocks:
            run = block.run
            for leg, first, end in block.bounds:
                if leg != name or first == end:
                    continue
                sent += end - first
                seconds += (run.intended_ns[end - 1] - run.intended_ns[first]) / 1e9
                good = [
                    ns
                    for ns, what in zip(run.latency_ns[first:end], run.outcome[first:end], strict=True)
                    if what == 0
                ]
                latencies += good
                late = max(late, *run.late_ns[first:end])
        latencies.sort()
        found[name] = {
            "requests": sent,
            "offered_rps": round(sent / seconds, 1) if seconds else None,
            "errors": sent - len(latencies),
            **points_of(latencies),
            "sent_late_max_us": us(late),
        }
    return found


def recovery_s(block: Block) -> float | None:
    """Give the seconds from the end of the ramp down until the P99 is as it was in the baseline.

    A short window's P99 swings by itself, so "as it was" means: not above what 95 % of the baseline's
    own windows had. ``None`` when that does not come, or there is too little to look at.
    """
    legs = {name: (first, end) for name, first, end in block.bounds}
    if "baseline" not in legs or "recovery" not in legs:
        return None
    run = block.run
    first, end = legs["baseline"]
    if end - first < _WINDOWS * _LEAST:
        return None
    width = max(1, (run.intended_ns[end - 1] - run.intended_ns[first]) // _WINDOWS)
    before = sorted(p99 for _, p99 in _windows(block, first, end, width))
    if not before:
        return None
    usual = percentile(before, 0.95)
    start, stop = legs["recovery"]
    if start == stop:
        return None
    begun = run.intended_ns[start]
    for at, p99 in _windows(block, start, stop, width):
        if p99 <= usual:
            return round((at - begun) / 1e9, 3)
    return None


def _windows(block: Block, first: int, end: int, width: int) -> list[tuple[int, int]]:
    """Give beginning and P99 of each window; a failed request is as slow as can be."""
    run = block.run
    begun = run.intended_ns[first]
    slots: dict[int, list[int]] = {}
    for index in range(first, end):
        latency = run.latency_ns[index] if run.outcome[index] == 0 else 1 << 62
        slots.setdefault((run.intended_ns[index] - begun) // width, []).append(latency)
    return [
        (begun + slot * width, percentile(sorted(values), 0.99)) for slot, values in sorted(slots.items())
    ]
