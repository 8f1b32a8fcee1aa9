"""Percentiles, intervals and slopes say of known distributions what is known of them."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.stats import distribution, merge, overhead, percentile, slope, weighted_quantile

BLOCKS = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=20), min_size=1, max_size=5)


class Percentiles(SynchronousTestCase):
    """Nearest ranks."""

    def test_known(self) -> None:
        """Of 1 to 1000 the percentiles are their own ranks."""
        values = range(1, 1001)
        self.assertEqual(
            [percentile(values, p) for p in (0, 0.5, 0.9, 0.99, 0.999, 1)], [1, 500, 900, 990, 999, 1000]
        )
        self.assertEqual(percentile([7], 0.999), 7)
        self.assertRaises(ValueError, percentile, [], 0.5)

    @settings(max_examples=100, deadline=None)
    @given(BLOCKS, st.lists(st.integers(0, 3), min_size=5, max_size=5), st.floats(0.001, 1))
    def test_weighted(self, blocks: list[list[int]], weights: list[int], share: float) -> None:
        """A weighted quantile is the quantile of blocks that are written down so many times."""
        weights = weights[: len(blocks)]
        if not any(weights):
            weights[0] = 1
        ordered = [sorted(block) for block in blocks]
        written = sorted(v for b, w in zip(blocks, weights, strict=True) for _ in range(w) for v in b)
        self.assertEqual(weighted_quantile(ordered, weights, share), percentile(written, share))

    def test_distribution(self) -> None:
        """A plotted distribution ascends from the least to what the samples resolve."""
        points = distribution(merge([[5, 1], list(range(10, 1010))]))
        self.assertEqual(points[0], (0.0, 1))
        self.assertEqual(points, sorted(points))
        self.assertGreater(points[-1][0], 0.998)
        self.assertEqual(distribution([]), [])


def coverage(trials: int, share: float, drift: float, blocks: int = 5) -> float:
    """Give how often the interval has the true difference in it, of exponential latencies.

    :param drift: standard deviation of each block's own level, by the mean latency.
    """
    true = -math.log(1 - share) * (130 - 100)
    hits = 0
    for seed in range(trials):
        rng = Random(seed)

        def side(mean: float, rng: Random = rng) -> list[list[int]]:
            return [
                sorted(int(1e4 * (rng.expovariate(1 / mean) + level)) for _ in range(150))
                for level in (100 * rng.gauss(0, drift) for _ in range(blocks))
            ]

        found = overhead(side(100), side(130), share, rng, repeats=100)
        hits += found.low <= true * 1e4 <= found.high
    return hits / trials


class Intervals(SynchronousTestCase):
    """The overhead's interval."""

    def test_coverage(self) -> None:
        """Without drift the 95 % interval has the truth in it at least that often: it is too wide."""
        self.assertGreaterEqual(coverage(80, 0.5, 0), 0.95)
        self.assertGreaterEqual(coverage(40, 0.9, 0), 0.925)

    def test_coverage_with_drift(self) -> None:
        """Drift between blocks, much larger than the noise within them, is in the interval."""
        self.assertGreaterEqual(coverage(80, 0.5, 0.5), 0.88)

    def test_drift_that_hits_both(self) -> None:
        """Drift that both sides of a turn have is not in the interval, drift of one side is."""
        rng = Random(1)

        def side(levels: list[float], more: int) -> list[list[int]]:
            return [
                sorted(int(level + rng.gauss(10_000 + more, 100)) for _ in range(400)) for level in levels
            ]

        levels = [rng.gauss(0, 300) for _ in range(8)]
        others = [rng.gauss(0, 300) for _ in range(8)]
        both = overhead(side(levels, 0), side(levels, 300), 0.5, rng)
        one = overhead(side(levels, 0), side(others, 300), 0.5, rng)
        self.assertTrue(both.low < 300 < both.high, both)
        self.assertLess(both.high - both.low, 200)
        self.assertGreater(one.high - one.low, 300)

    def test_narrow(self) -> None:
        """With many like samples the interval is close around the difference."""
        rng = Random(2)
        direct = [sorted(int(rng.gauss(10_000, 100)) for _ in range(2000)) for _ in range(5)]
        proxied = [sorted(int(rng.gauss(10_300, 100)) for _ in range(2000)) for _ in range(5)]
        found = overhead(direct, proxied, 0.5, rng)
        self.assertLess(abs(found.value - 300), 10)
        self.assertLess(found.high - found.low, 40)
        self.assertTrue(found.low < 300 < found.high)

    def test_reproducible(self) -> None:
        """The same samples and seed give the same interval; a side without samples has none."""
        blocks = [[1, 5, 9], [2, 4, 8]]
        self.assertEqual(overhead(blocks, blocks, 0.5, Random(1)), overhead(blocks, blocks, 0.5, Random(1)))
        self.assertRaises(ValueError, overhead, [[]], [[1]], 0.5, Random(1))


class Slopes(SynchronousTestCase):
    """Lines through points."""

    def test_line(self) -> None:
        """Points on a line have its slope and no error."""
        found = slope([(x, 3 * x + 1) for x in range(5)])
        assert found is not None
        self.assertAlmostEqual(found.per_unit, 3)
        self.assertAlmostEqual(found.error, 0)

    def test_noise(self) -> None:
        """The error is that of theory: sigma over the root of the spread."""
        rng = Random(4)
        found = slope([(x, rng.gauss(0, 2)) for x in range(400)])
        assert found is not None
        theory = 2 / math.sqrt(sum((x - 199.5) ** 2 for x in range(400)))
        self.assertLess(abs(found.error / theory - 1), 0.15)
        self.assertLess(abs(found.per_unit), 4 * theory)

    def test_nothing_to_fit(self) -> None:
        """Two points, or points at one moment, have no slope."""
        self.assertIsNone(slope([(1, 1), (2, 2)]))
        self.assertIsNone(slope([(1, 1), (1, 2), (1, 3)]))
