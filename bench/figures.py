"""Blocks become the figures of a report: microseconds, shares, intervals."""

from __future__ import annotations

from random import Random
from typing import Any, Mapping, Sequence

from .measure import DIRECT, Block, by_side
from .sampler import Sample
from .stats import POINTS, Samples, distribution, merge, overhead, percentile, slope


def us(ns: float) -> float:
    """Give microseconds with one decimal."""
    return round(ns / 1e3, 1)


def errors_of(blocks: Sequence[Block]) -> dict[str, int]:
    """Count errors by kind."""
    counted: dict[str, int] = {}
    for block in blocks:
        for kind, count in block.run.errors.items():
            counted[kind] = counted.get(kind, 0) + count
    return counted


def points_of(samples: Samples) -> dict[str, float | None]:
    """Give the percentiles of ascending samples; without samples there is nothing to give."""
    if not samples:
        return {f"{name}_us": None for name in POINTS}
    return {f"{name}_us": us(percentile(samples, share)) for name, share in POINTS.items()}


def side_figures(blocks: Sequence[Block], *, proxied: bool, shared: int = 1) -> dict[str, Any]:
    """Give the figures of one way.

    Failed requests are in no percentile; they are counted beside.

    :param shared: requests of all parts that ran together, by those of this one: the server's CPU is
        not told apart by part.
    """
    together = merge([block.ordered for block in blocks])
    sent = sum(len(block.run.outcome) for block in blocks)
    good = sum(block.run.outcome.count(0) for block in blocks)
    offered_s = sum((block.run.intended_ns[-1] - block.run.intended_ns[0]) / 1e9 for block in blocks)
    achieved_s = sum(block.run.outcome.count(0) / (block.run.achieved_rps or 1e9) for block in blocks)
    own = sum(block.run.own_cpu_s for block in blocks)
    figures: dict[str, Any] = dict(points_of(together))
    figures |= {
        "max_us": us(together[-1]) if together else None,
        "success": round(good / sent, 6) if sent else None,
        "requests": sent,
        "offered_rps": round(sent / offered_s, 1) if offered_s else None,
        "achieved_rps": round(good / achieved_s, 1) if achieved_s else 0.0,
        "errors": errors_of(blocks),
        "generator_cpu_us_per_request": round(own * 1e6 / sent, 2) if sent else None,
        "mock_cpu_us_per_request": round(sum(b.mock_cpu_s for b in blocks) * 1e6 / sent / shared, 2)
        if sent
        else None,
    }
    if proxied:
        cpu = sum(block.server_cpu_s for block in blocks)
        figures["gateway_cpu_us_per_request"] = round(cpu * 1e6 / sent / shared, 2) if sent else None
        figures["gateway_rss_mb"] = round(max(sum(b.run.watched_rss_kb[1:]) for b in blocks) / 1024, 2)
    figures["blocks"] = [
        {"began_s": round(b.began, 2), "requests": len(b.run.outcome), **points_of(b.ordered)} for b in blocks
    ]
    return figures


def added(direct: Sequence[Samples], proxied: Sequence[Samples], seed: int) -> dict[str, Any]:
    """Give the overhead: each percentile's difference with its 95 % interval."""
    if not any(direct) or not any(proxied):
        return {}
    # Long phases have many blocks, whose intervals are narrow and need fewer replicates.
    repeats = 400 if len(proxied) <= 10 else 200
    found: dict[str, Any] = {}
    for name, share in POINTS.items():
        interval = overhead(direct, proxied, share, Random(f"{seed}-{name}"), repeats)
        found[f"{name}_us"] = us(interval.value)
        found[f"{name}_ci_us"] = [us(interval.low), us(interval.high)]
    return found


def part_figures(blocks: Sequence[Block], key: str, seed: int) -> dict[str, Any]:
    """Give what the issue's JSON shape wants for one part: ways, and the overhead of the gateway."""
    sides = by_side(blocks, key)
    found: dict[str, Any] = {}
    for name, of_side in sides.items():
        everybody = [b for b in blocks if b.side == name]
        sent = sum(len(b.run.outcome) for b in of_side)
        shared = sum(len(b.run.outcome) for b in everybody) / sent if sent else 1
        found[name] = side_figures(of_side, proxied=name != DIRECT, shared=max(1, shared))  # type: ignore[arg-type]
    direct = sides.get(DIRECT)
    for name, of_side in sides.items():
        if name != DIRECT and direct:
            overhead_key = "overhead" if name == "proxied" else f"overhead_{name}"
            found[overhead_key] = added(*paired(direct, of_side), seed)
    return found


def paired(direct: Sequence[Block], other: Sequence[Block]) -> tuple[list[Samples], list[Samples]]:
    """Give the samples of the turns that both sides have."""
    first = {block.turn: block.ordered for block in direct}
    second = {block.turn: block.ordered for block in other}
    turns = sorted(first.keys() & second.keys())
    return [first[t] for t in turns], [second[t] for t in turns]


def curves(blocks: Sequence[Block], key: str) -> dict[str, Any]:
    """Give what plots need: the distribution and the seconds of each way."""
    found: dict[str, Any] = {}
    for name, of_side in by_side(blocks, key).items():
        together = merge([block.ordered for block in of_side])
        found[name] = {
            "distribution_us": [[share, us(ns)] for share, ns in distribution(together)],
            "seconds": [row for block in of_side for row in per_second(block)],
        }
    return found


def per_second(block: Block) -> list[list[float | None]]:
    """Give for each second of a block: when, good replies a second, P50 and P99 in microseconds."""
    run = block.run
    if not run.intended_ns:
        return []
    start = run.intended_ns[0]
    width = 1.0 if run.seconds >= 2 else max(0.05, run.seconds / 4)
    slots: dict[int, list[int]] = {}
    for intended, latency, outcome in zip(run.intended_ns, run.latency_ns, run.outcome, strict=True):
        slot = slots.setdefault(int((intended - start) / 1e9 / width), [])
        if outcome == 0:
            slot.append(latency)
    rows: list[list[float | None]] = []
    for number, latencies in sorted(slots.items()):
        latencies.sort()
        # The last, shorter part of a second would show as a fall of the rate.
        length = min(width, run.seconds - number * width)
        if length < width / 2 and number:
            continue
        good = bool(latencies)
        rows.append(
            [
                round(block.began + number * width, 3),
                round(len(latencies) / length, 1),
                us(percentile(latencies, 0.5)) if good else None,
                us(percentile(latencies, 0.99)) if good else None,
            ]
        )
    return rows


def samples_json(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Give the samples of the gateway as they stand in a report."""
    return [
        {
            "at_s": s.at,
            "rss_mb": s.rss_mb,
            "descriptors": s.descriptors,
            "loop_lag_p99_us": None if s.lag_us is None else round(s.lag_us, 1),
        }
        for s in samples
    ]


def slopes(samples: Sequence[Sample]) -> dict[str, Mapping[str, float] | None]:
    """Fit lines through memory, descriptors and lag, per minute."""
    readings: dict[str, list[tuple[float, float | None]]] = {
        "rss_mb_per_min": [(s.at / 60, s.rss_mb) for s in samples],
        "descriptors_per_min": [(s.at / 60, s.descriptors) for s in samples],
        "loop_lag_p99_us_per_min": [(s.at / 60, s.lag_us) for s in samples],
    }
    found: dict[str, Mapping[str, float] | None] = {}
    for name, points in readings.items():
        line = slope([(at, value) for at, value in points if value is not None])
        found[name] = {"slope": round(line.per_unit, 4), "error": round(line.error, 4)} if line else None
    return found
