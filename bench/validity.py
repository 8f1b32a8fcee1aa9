"""Whether a figure is about the gateway, or about a generator and a mock that were at their end."""

from __future__ import annotations

from typing import Mapping, Sequence

from attrs import field, frozen

from .measure import DIRECT, Block
from .stats import percentile

#: Lateness of requests for which a connection was free: the generator's own.
LATE_P50_NS = 150_000
LATE_P99_NS = 3_000_000
#: Share of the core that generator and mock have together.
CORE_SHARE = 0.9
#: With less of it they were not at their end: when their P99 was late, the machine paused.
IDLE_SHARE = 0.5
#: Of what mock and generator can do alone in a closed loop, so much can be driven at fixed times.
DRIVABLE = 0.8
#: Lateness of the mock's timer.
MOCK_LATE_P99_NS = 3_000_000


@frozen
class Alone:
    """What generator and mock can do without a gateway between.

    :ivar rps: requests a second at most.
    :ivar cpu_us: of both, for one request.
    """

    rps: float = 0.0
    cpu_us: float = 0.0
    generator: str = "c"


@frozen
class Verdict:
    """Whether a phase counts.

    :ivar reasons: why it does not.
    :ivar notes: what it does not resolve, though generator and mock had most of their core left.
    :ivar could_rps: the rate that generator and mock could have driven instead.
    """

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    could_rps: float | None = None
    seen: Mapping[str, float] = field(factory=dict)


def judge(
    blocks: Sequence[Block], alone: Alone, mock_late_p99_ns: int | None = None, cores: int = 1
) -> Verdict:
    """Look for signs that generator or mock were saturated.

    :param mock_late_p99_ns: what the mock says about its own timer.
    :param cores: how many cores generator and mock have.
    """
    reasons, tails = [], []
    late = sorted(ns for block in blocks for ns in block.run.busy_late_ns)
    seen: dict[str, float] = {}
    if late:
        p50, p99 = percentile(late, 0.5), percentile(late, 0.99)
        seen |= {"generator_late_p50_us": p50 / 1e3, "generator_late_p99_us": p99 / 1e3}
        text = "the generator sent late although connections were free: "
        if p50 > LATE_P50_NS:
            reasons.append(f"{text}P50 {p50 / 1e3:.0f} us")
        if p99 > LATE_P99_NS:
            tails.append(f"{text}P99 {p99 / 1e3:.0f} us")
    share, rate = busiest(blocks)
    share /= cores
    seen["generator_and_mock_core_share"] = round(share, 3)
    if share > CORE_SHARE:
        reasons.append(f"generator and mock used {share:.0%} of their core{'s' if cores > 1 else ''}")
    if mock_late_p99_ns is not None:
        seen["mock_late_p99_us"] = mock_late_p99_ns / 1e3
        if mock_late_p99_ns > MOCK_LATE_P99_NS:
            tails.append(f"the mock's timer was late: P99 {mock_late_p99_ns / 1e3:.0f} us")
    notes = []
    if share > IDLE_SHARE:
        reasons += tails
    elif tails:
        # Both ways suffer from it alike; what is rarer than one in a hundred is about the machine.
        used = f"they used only {share:.0%} of their core, so others, or the host, were in the way"
        notes.append(f"P99 is not resolved: {'; '.join(tails)}; {used}")
    if not reasons:
        return Verdict((), tuple(notes), None, seen)
    driven = rate * CORE_SHARE / share if share > IDLE_SHARE else alone.rps or rate
    could = min(driven, alone.rps * DRIVABLE) if alone.rps else driven
    return Verdict(tuple(reasons), tuple(notes), round(could), seen)


def busiest(blocks: Sequence[Block]) -> tuple[float, float]:
    """Give the share of a core that generators and mock used in the busiest turn, and its rate.

    The parts of a phase run together, so theirs are added; the mock is one process, counted once.
    """
    turns: dict[tuple[str, int], list[Block]] = {}
    for block in blocks:
        turns.setdefault((block.side, block.turn), []).append(block)
    best = (0.0, 0.0)
    for together in turns.values():
        seconds = max(block.run.seconds for block in together)
        used = sum(block.run.own_cpu_s for block in together) + max(block.mock_cpu_s for block in together)
        rate = sum(block.run.achieved_rps for block in together)
        best = max(best, (used / max(1e-9, seconds), rate))
    return best


def gateway_saturated(blocks: Sequence[Block]) -> bool:
    """Give whether what stands between answered clearly less than was offered."""
    proxied = [block for block in blocks if block.side != DIRECT]
    offered = sum(len(block.run.outcome) for block in proxied)
    good = sum(block.run.outcome.count(0) for block in proxied)
    return bool(offered) and good < 0.99 * offered


def mostly_failed(blocks: Sequence[Block]) -> list[str]:
    """Give a text for each way on which most requests failed: its figures are about refusals."""
    found = []
    for name, key in sorted({(block.side, block.key) for block in blocks}):
        runs = [block.run for block in blocks if (block.side, block.key) == (name, key)]
        sent = sum(len(run.outcome) for run in runs)
        if 2 * sum(run.outcome.count(0) for run in runs) < sent:
            found.append(f"most requests failed ({key}, {name})")
    return found
