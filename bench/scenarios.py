"""What each scenario runs: a table of phases.

Rates are requests a second of a whole phase; durations are seconds of load on one way, all blocks
together. Both can be given on the command line.
"""

from __future__ import annotations

import math
from typing import Callable, Mapping

from attrs import frozen

from .measure import Part, Phase
from .schedules import Leg, burst_legs
from .subjects import CODEMODE, LLM, MCP, Subject

#: The highest rate of a burst by its baseline.
SPIKE = 10
#: Of the scenario ``realistic``: tokens of a reply and milliseconds between them.
TOKENS, TOKEN_MS = 152, 30
#: The mock's delay before it answers.
DELAY_S = 0.01
#: A block no longer than this keeps direct and proxied ways close together in long runs.
_BLOCK_MOST_S = 60.0


@frozen
class Scenario:
    """A scenario.

    :ivar phases: gives what to measure, for a rate and a duration.
    :ivar rps: the rate when none is given; ``peak`` times as much is the most that it asks for.
    :ivar seconds: the duration when none is given.
    :ivar apart: the gateway has a core of its own, generator and mock share another; else all share all.
    """

    name: str
    summary: str
    rps: float
    seconds: float
    phases: Callable[[float, float], tuple[Phase, ...]]
    peak: float = 1.0
    apart: bool = True


def flat(rate: float) -> Callable[[float], tuple[Leg, ...]]:
    """Give a schedule of one rate."""
    return lambda seconds: (Leg("flat", seconds, rate),)


def _blocks(seconds: float) -> int:
    return max(5, math.ceil(seconds / _BLOCK_MOST_S))


def _share(seconds: float, share: float) -> float:
    """Give the length of direct blocks: in short runs they would hold too little."""
    return share if seconds > _BLOCK_MOST_S else 1.0


def _alone(subject: Subject, rate: float, seconds: float, direct_share: float = 1.0) -> Phase:
    return Phase(
        subject.title,
        (Part(subject.key, subject, flat(rate)),),
        seconds,
        blocks=_blocks(seconds),
        direct_share=direct_share,
    )


def _quick(rate: float, seconds: float) -> tuple[Phase, ...]:
    return tuple(_alone(subject, rate, seconds) for subject in (LLM, MCP, CODEMODE))


def _sustained(rate: float, seconds: float) -> tuple[Phase, ...]:
    return tuple(_alone(subject, rate, seconds, _share(seconds, 0.2)) for subject in (LLM, MCP))


def _burst(rate: float, seconds: float) -> tuple[Phase, ...]:
    part = Part(LLM.key, LLM, lambda block_s: burst_legs(rate, SPIKE, block_s))
    return (Phase("LLM burst", (part,), seconds),)


def _large(rate: float, seconds: float) -> tuple[Phase, ...]:
    return tuple(
        Phase(f"LLM, {title}", (Part(key, LLM, flat(rate), size=size),), seconds)
        for key, title, size in (("llm_100kb", "100 KB", 100_000), ("llm_1mb", "1 MB", 1_000_000))
    )


def _mixed(rate: float, seconds: float) -> tuple[Phase, ...]:
    shares = ((LLM, 0.6), (MCP, 0.3), (CODEMODE, 0.1))
    parts = tuple(Part(subject.key, subject, flat(rate * share)) for subject, share in shares)
    return (Phase("LLM, MCP and Code Mode in parallel", parts, seconds),)


def _endurance(rate: float, seconds: float) -> tuple[Phase, ...]:
    part = Part(LLM.key, LLM, flat(rate))
    every = min(5.0, max(0.2, seconds / 60))
    blocks = _blocks(seconds)
    share = _share(seconds, 0.1)
    return (Phase("LLM", (part,), seconds, blocks, share, sample_s=every, scrape_every=1),)


def _realistic(rate: float, seconds: float) -> tuple[Phase, ...]:
    # A stream that is longer than a block would make a short run long.
    tokens = min(TOKENS, max(5, int(seconds / 5 * 1000 / TOKEN_MS)))
    life = DELAY_S + tokens * TOKEN_MS / 1000
    part = Part(LLM.key, LLM, flat(rate), stream=True)
    title = f"LLM, streams of {tokens} tokens"
    return (
        Phase(title, (part,), seconds, warmup_s=life * 1.1, life_s=life, tokens=tokens, token_ms=TOKEN_MS),
    )


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("quick", "LLM, MCP and Code Mode, direct and proxied, 500 rps, 15 s each", 500, 15, _quick),
        Scenario(
            "sustained",
            "LLM and MCP, 5,000 rps for 5 min, all processes on all cores",
            5000,
            300,
            _sustained,
            apart=False,
        ),
        Scenario(
            "burst",
            "baseline 500 rps, ramp, spike of ten times, ramp down, recovery; five passes of 90 s",
            500,
            450,
            _burst,
            peak=SPIKE,
        ),
        Scenario("large-payload", "bodies of 100 KB and of 1 MB, 100 rps", 100, 60, _large),
        Scenario("mixed", "60 % LLM, 30 % MCP, 10 % Code Mode in parallel, 500 rps", 500, 60, _mixed),
        Scenario(
            "endurance",
            "30 min at 500 rps; slopes of memory, descriptors, event-loop lag",
            500,
            1800,
            _endurance,
        ),
        Scenario(
            "realistic",
            f"50 streams a second of {TOKENS} tokens, {TOKEN_MS} ms apart",
            50,
            120,
            _realistic,
        ),
    )
}
