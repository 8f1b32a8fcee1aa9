"""Streams: time to the first token, lateness of each later one, and streams held."""

from __future__ import annotations

from typing import Any, Sequence

from .figures import added, paired, points_of
from .measure import DIRECT, Block, by_side
from .stats import Samples, merge


def stream_figures(blocks: Sequence[Block], key: str, seed: int) -> dict[str, Any]:
    """Give for each way what happened to streams and tokens, and what the gateway added to tokens.

    A token's delay is its lateness against the mock's clock, which every event carries: the pace of the
    mock is not in it.
    """
    sides = by_side(blocks, key)
    found: dict[str, Any] = {}
    delays: dict[str, dict[int, Samples]] = {}
    for name, of_side in sides.items():
        delays[name] = {block.turn: sorted(block.run.gaps_ns) for block in of_side}
        events = sum(block.run.events for block in of_side)
        cpu = sum(block.server_cpu_s for block in of_side)
        found[name] = {
            "streams": sum(len(block.run.outcome) for block in of_side),
            "streams_complete": sum(block.run.outcome.count(0) for block in of_side),
            "streams_held": max((block.run.held for block in of_side), default=0),
            "events": events,
            "events_lost": sum(block.run.events_lost for block in of_side),
            "token_delay": points_of(merge(list(delays[name].values()))),
        }
        if name != DIRECT:
            found[name]["gateway_cpu_us_per_event"] = round(cpu * 1e6 / events, 2) if events else None
    for name in sides:
        if name != DIRECT and DIRECT in sides:
            turns = [b.turn for b in sides[name]]
            first, second = paired(sides[DIRECT], sides[name])
            both = [t for t in turns if t in delays[DIRECT]]
            found[f"added_token_delay_{name}"] = added(
                [delays[DIRECT][t] for t in both], [delays[name][t] for t in both], seed
            )
            found[f"added_time_to_first_token_{name}"] = added(first, second, seed)
    return found
