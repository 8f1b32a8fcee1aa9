"""Runs a scenario on a rig and gives its part of the report."""

from __future__ import annotations

import time
from typing import Any, Sequence

from attrs import define, field, frozen

from .burst import burst_figures
from .figures import curves, part_figures, samples_json, slopes
from .harness import CORES, Failed
from .measure import DIRECT, PROXIED, Block, Phase, Side, run_phase
from .progress import Progress
from .rig import Rig
from .sampler import ADDED, LAG, Sampler, parse
from .scenarios import Scenario
from .streams import stream_figures
from .validity import DRIVABLE, Alone, gateway_saturated, judge, mostly_failed

#: Slopes of shorter phases are of caches that fill.
LONG_S = 60.0


class ImpossibleRate(Failed):
    """The machine cannot drive so many requests a second."""


@frozen
class Wish:
    """What the command line says about a run; ``None`` is the scenario's own.

    :ivar even: equal distances instead of random ones.
    """

    rps: float | None = None
    seconds: float | None = None
    even: bool = False
    seed: int = 1


@define
class Report:
    """What a scenario gave so far.

    :ivar results: by part, as in the JSON document.
    :ivar plots: distributions and time series, by part.
    :ivar pinned: the gateway had a core of its own.
    :ivar skipped: parts that could not be measured, and why.
    """

    scenario: str
    rps: float
    seconds: float
    results: dict[str, Any] = field(factory=dict)
    plots: dict[str, Any] = field(factory=dict)
    reasons: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)
    skipped: dict[str, str] = field(factory=dict)
    could_rps: float | None = None
    complete: bool = False
    pinned: bool = True
    took_s: float = 0.0

    @property
    def valid(self) -> bool:
        """Give whether the figures are about the gateway, and all there."""
        return self.complete and not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Give the scenario's part of the document."""
        return {
            "scenario": self.scenario,
            "valid": self.valid,
            "complete": self.complete,
            "reasons": self.reasons,
            "could_drive_rps": self.could_rps,
            "notes": self.notes,
            "skipped": self.skipped,
            "pinned": self.pinned,
            "rps": self.rps,
            "seconds_each_way": self.seconds,
            "took_s": round(self.took_s, 1),
            "results": self.results,
            "plots": self.plots,
        }


def check_rate(rps: float, scenario: Scenario, alone: Alone) -> None:
    """Refuse a rate that generator and mock cannot drive here.

    :raises ImpossibleRate: with what could be driven.
    """
    most = alone.rps * DRIVABLE
    if alone.rps and rps * scenario.peak > most:
        spike = f" (with a spike of {rps * scenario.peak:,.0f})" if scenario.peak > 1 else ""
        raise ImpossibleRate(
            f"{rps:,.0f} requests a second{spike} are more than this machine can drive: "
            f"--rps of at most {most / scenario.peak:,.0f} is possible"
        )


def check_enough(phases: Sequence[Phase]) -> None:
    """Refuse phases that have blocks without a request.

    :raises Failed: with a text for people.
    """
    for phase in phases:
        seconds = phase.block_s(DIRECT)
        for part in phase.parts:
            if part.subject.skipped and part.subject.direct_path is None:
                continue
            if sum(leg.integral for leg in part.legs(seconds)) < 1:
                raise Failed(
                    f"{phase.title}: a block of {seconds:g} s has no request at this rate; "
                    "a longer --duration or a higher --rps is needed"
                )


def run_scenario(rig: Rig, scenario: Scenario, wish: Wish, progress: Progress, report: Report) -> None:
    """Measure a scenario; the report has what there is even when this is interrupted.

    :raises ImpossibleRate: it asks for more than the machine can drive.
    :raises Failed: a block would have no request, or something cannot be started.
    """
    phases = scenario.phases(report.rps, report.seconds)
    check_enough(phases)
    check_rate(report.rps, scenario, rig.alone)
    if rig.alone.generator != "c":
        report.notes.append("without a C compiler the slower Python generator is used")
    begun = time.monotonic()
    sides = [rig.direct(), rig.proxied()]
    report.pinned = scenario.apart
    core = rig.pin(scenario.apart)
    try:
        for phase in phases:
            progress.phase(f"{scenario.name}: {phase.title}, {report.rps:,.0f} rps")
            _phase(rig, phase, sides, core, wish, progress, report, 1 if scenario.apart else len(CORES))
        report.complete = True
    finally:
        report.took_s = time.monotonic() - begun


def _phase(
    rig: Rig,
    phase: Phase,
    sides: Sequence[Side],
    core: int | None,
    wish: Wish,
    progress: Progress,
    report: Report,
    cores: int,
) -> None:
    blocks: list[Block] = []
    sampler = Sampler(
        lambda: rig.gateway.pid, rig.metrics, every_s=phase.sample_s, scrape_every=phase.scrape_every
    )
    if phase.tokens:
        rig.mock.configure(events=phase.tokens, interval_us=round(phase.token_ms * 1000))
    before = rig.metrics()
    rig.mock_late_ns()
    sampler.start()
    try:
        run_phase(phase, sides, rig.mock_pid, core, progress, wish.seed, blocks, even=wish.even)
    finally:
        sampler.stop()
        _conclude(phase, blocks, sampler, wish.seed, report)
    _own_view(phase, before, rig.metrics(), report)
    verdict = judge(blocks, rig.alone, rig.mock_late_ns(), cores)
    for part in phase.parts:
        if any(block.key == part.key for block in blocks):
            report.results[part.key]["saturation"] = dict(verdict.seen)
    report.reasons += [f"{phase.title}: {reason}" for reason in verdict.reasons]
    report.notes += [f"{phase.title}: {note}" for note in verdict.notes]
    if verdict.could_rps is not None:
        report.could_rps = min(report.could_rps or verdict.could_rps, verdict.could_rps)
    report.reasons += [f"{phase.title}: {text}" for text in mostly_failed(blocks)]
    if gateway_saturated(blocks):
        report.notes.append(f"{phase.title}: the gateway did not answer all that it was asked")


def _own_view(phase: Phase, before: str, after: str, report: Report) -> None:
    """Put what the gateway says about itself beside what was measured from outside."""
    lag = parse(after, LAG).since(parse(before, LAG))
    added = parse(after, ADDED).since(parse(before, ADDED))
    for part in phase.parts:
        found = report.results[part.key]
        if "gateway" not in found:
            continue
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            found["gateway"][f"loop_lag_{name}_us"] = _us(lag.quantile(share))
        own = _us(added.quantile(0.5))
        outside = found.get("overhead", {}).get("p50_us")
        # Parts that run together are in one histogram.
        if own is not None and outside and len(phase.parts) == 1:
            found["self_reported"] = {
                "added_p50_us": own,
                "added_p99_us": _us(added.quantile(0.99)),
                "of_outside_p50": round(own / outside, 3),
            }


def _us(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


def _conclude(phase: Phase, blocks: Sequence[Block], sampler: Sampler, seed: int, report: Report) -> None:
    """Put what the blocks say into the report, however many there are."""
    for part in phase.parts:
        key = part.key
        found: dict[str, Any] = part_figures(blocks, key, seed)
        if part.subject.skipped:
            report.skipped[key] = found["skipped"] = part.subject.skipped
        elif not (found.get(DIRECT) and found.get(PROXIED)):
            found["incomplete"] = True
        legs = [bound[0] for block in blocks[:1] for bound in block.bounds]
        if "recovery" in legs:
            found["burst"] = burst_figures(blocks, key)
        if part.stream:
            found["streaming"] = stream_figures(blocks, key, seed)
        if not part.subject.skipped:
            samples = sampler.samples
            found["gateway"] = {
                "rss_mb": {
                    "first": samples[0].rss_mb if samples else None,
                    "last": samples[-1].rss_mb if samples else None,
                    "max": max((s.rss_mb for s in samples), default=None),
                },
                "descriptors_max": max((s.descriptors or 0 for s in samples), default=None),
                "slopes": slopes(samples),
                "long": phase.seconds >= LONG_S,
            }
            report.plots[key] = {**curves(blocks, key), "gateway": samples_json(samples)}
        report.results[key] = found
