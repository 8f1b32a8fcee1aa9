"""Percentiles, the overhead with its interval, and slopes with their error.

No numpy: the suite runs where only the gateway is installed. What makes the bootstrap cheap is that the
bootstrap distribution of a quantile needs no resampling: drawing n samples from a distribution and
taking the k-th is the same as taking the distribution's quantile at ``Beta(k, n - k + 1)``. Blocks are
resampled as well (direct and proxied of one turn together), so that drift between blocks is in the
interval and drift that hits both sides is not.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from random import Random
from typing import Mapping, Sequence

from attrs import frozen

#: Name in reports and share of requests at or below.
POINTS: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
Samples = Sequence[int]


def percentile(ordered: Samples, share: float) -> int:
    """Give the nearest-rank percentile of ascending samples.

    :param share: between 0 and 1.
    :raises ValueError: there are no samples.
    """
    if not ordered:
        raise ValueError("no samples")
    return ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1]


def merge(blocks: Sequence[Samples]) -> array[int]:
    """Give all samples of some blocks, ascending."""
    return array("Q", sorted(sample for block in blocks for sample in block))


def weighted_quantile(blocks: Sequence[Samples], weights: Sequence[int], share: float) -> int:
    """Give a quantile of ascending blocks together, each counted ``weight`` times.

    It is the smallest value with at least ``share`` of all samples at or below it.
    """
    used = [(block, weight) for block, weight in zip(blocks, weights, strict=True) if weight and block]
    total = sum(len(block) * weight for block, weight in used)
    wanted = max(1, math.ceil(share * total))
    low, high = min(block[0] for block, _ in used), max(block[-1] for block, _ in used)
    while low < high:
        middle = (low + high) // 2
        if sum(bisect_right(block, middle) * weight for block, weight in used) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


@frozen
class Interval:
    """A difference with its 95 % interval, in the samples' unit."""

    value: float
    low: float
    high: float


def _widen(blocks: int) -> float:
    """Give the factor for few blocks: resampling k blocks shows only (k-1)/k of their variance.

    With it goes the ratio of Student's to the normal 97.5 % quantile (Cornish-Fisher, good to some
    per cent from 4 degrees of freedom on).
    """
    free, z = blocks - 1, 1.959964
    if free < 1:
        return 1.0
    student = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return student / z * math.sqrt(blocks / free)


def _redraw(side: Sequence[Samples], weights: Sequence[int], share: float, rng: Random) -> int:
    """Draw the quantile of a side whose blocks are each resampled, with as many samples as they have.

    Of one block, and of blocks that are alike, that is the quantile at a Beta. Where blocks lie apart, fewer
    of their samples can change sides of the quantile, as if there were more samples altogether: the counts'
    variance is the sum of p(1-p) of each block instead of that of the whole.
    """
    value = weighted_quantile(side, weights, share)
    count = spread = below = 0.0
    for block, weight in zip(side, weights, strict=True):
        under = bisect_right(block, value)
        count += len(block) * weight
        below += under * weight
        spread += weight * under * (1 - under / len(block))
    whole = below * (1 - below / count)
    scale = min(1e6, max(1.0, whole / spread if spread > 0 else 1e6)) if whole > 0 else 1.0
    rank = min(count, max(1.0, share * count))
    drawn = rng.betavariate(rank * scale, (count - rank) * scale + 1)
    return weighted_quantile(side, weights, drawn)


def overhead(
    direct: Sequence[Samples], proxied: Sequence[Samples], share: float, rng: Random, repeats: int = 400
) -> Interval:
    """Give the difference of one percentile of two sides, proxied minus direct.

    :param direct: blocks of one side, each ascending; the i-th of both sides belong together.
    :param rng: seeded, so that a report can be computed again.
    :param repeats: bootstrap replicates.
    :raises ValueError: a side has no samples.
    """
    pairs = [(a, b) for a, b in zip(direct, proxied, strict=True) if a and b]
    if not pairs:
        raise ValueError("no samples")
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    even = [1] * len(pairs)
    first, second = (weighted_quantile(side, even, share) for side in sides)
    value = second - first
    found = []
    for _ in range(repeats):
        weights = [0] * len(pairs)
        for _ in pairs:
            weights[rng.randrange(len(pairs))] += 1
        drawn = [_redraw(side, weights, share, rng) for side in sides]
        found.append(drawn[1] - drawn[0])
    found.sort()
    widen = _widen(len(pairs))
    low, high = found[int(repeats * 0.025)], found[min(repeats - 1, int(repeats * 0.975))]
    return Interval(value, value - max(0, value - low) * widen, value + max(0, high - value) * widen)


@frozen
class Slope:
    """A straight line through points by least squares.

    :ivar per_unit: change for one unit of the first coordinate.
    :ivar error: its standard error; a slope within two of it is none that was seen.
    """

    per_unit: float
    error: float


def slope(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Fit a line; ``None`` for fewer than three points or points at one moment."""
    count = len(points)
    if count < 3:
        return None
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread <= 0:
        return None
    per_unit = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - per_unit * (x - mean_x)) ** 2 for x, y in points)
    return Slope(per_unit, math.sqrt(rest / (count - 2) / spread))


def distribution(ordered: Samples, points: int = 60) -> list[tuple[float, int]]:
    """Give percentiles for a plot with a logarithmic axis: closer and closer towards 1.

    :returns: pairs of share and value, up to the last share that the samples resolve.
    """
    if not ordered:
        return []
    most = math.log10(len(ordered)) if len(ordered) > 10 else 1.0
    shares = [1 - 10 ** (-most * i / points) for i in range(points + 1)]
    return [(round(share, 7), percentile(ordered, share)) for share in shares]
