"""Histograms that can be added up: fixed bounds, one count for each span between two of them.

A quantile found in them is exact to the span that it falls in; within it values are taken to be
evenly spread. Bounds never change: sums that are stored were made with them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Sequence

#: Upper bounds of latencies in milliseconds, each about one and a half times the one before where
#: most replies are; what is above the last is in a span of its own.
LATENCY_BOUNDS = (
    *(10, 25, 50, 100, 150, 250, 400, 650, 1000),
    *(1500, 2500, 4000, 6500, 10_000, 17_000, 30_000, 60_000),
)

#: Upper bounds of the time to the first token, in milliseconds.
TTFT_BOUNDS = (25, 50, 100, 150, 250, 400, 650, 1000, 1500, 2500, 4000, 8000, 20_000)

#: Upper bounds of tokens a second.
SPEED_BOUNDS = (5, 10, 20, 30, 45, 65, 100, 150, 300)


def bucket(bounds: Sequence[int], value: float) -> int:
    """Give the place of the span that ``value`` falls in; a bound belongs to the span above it."""
    return bisect_right(bounds, value)


def quantile(bounds: Sequence[int], counts: Sequence[int], share: float) -> float | None:
    """Give what ``share`` of the values are at most; ``None`` without values.

    :param counts: one for each span, so one more than there are bounds.
    :param share: from 0 to 1.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    seen = 0
    for place, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = bounds[place - 1] if place else 0
            # Nobody knows how far the last span reaches.
            high = bounds[place] if place < len(bounds) else 2 * bounds[-1]
            return low + (high - low) * max(0.0, wanted - seen) / count
        seen += count
    raise AssertionError("counts add up to their sum")
