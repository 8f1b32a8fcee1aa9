"""Requests are due when the integral of the rate says."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.schedules import NS, Leg, burst_legs, draw

LEGS = st.lists(
    st.builds(
        Leg,
        st.sampled_from("abc"),
        st.floats(0.01, 5),
        st.floats(0, 200),
        st.none() | st.floats(0, 200),
    ),
    min_size=1,
    max_size=5,
)


class Schedules(SynchronousTestCase):
    """Moments of a schedule."""

    def test_even(self) -> None:
        """Without chance, requests of one rate are at equal distances."""
        got = draw([Leg("flat", 2, 50)]).arrivals
        self.assertEqual(len(got), 100)
        self.assertEqual({b - a for a, b in pairwise(got)}, {NS // 50})
        self.assertEqual(got[0], NS // 100)

    def test_poisson(self) -> None:
        """Random moments have an exact count, are uniform, and gaps as spread as their mean."""
        got = draw([Leg("flat", 100, 200)], Random(5)).arrivals
        self.assertEqual(len(got), 20_000)
        # Kolmogorov-Smirnov: 1.63 / sqrt(n) is exceeded once in a hundred seeds.
        most = max(abs(moment / (100 * NS) - i / 20_000) for i, moment in enumerate(got))
        self.assertLess(most, 1.63 / 20_000**0.5)
        gaps = [b - a for a, b in pairwise(got)]
        mean = sum(gaps) / len(gaps)
        deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
        self.assertLess(abs(deviation / mean - 1), 0.05)

    def test_seeds(self) -> None:
        """The same seed gives the same moments, another one others."""
        one, same, other = (draw([Leg("flat", 1, 99)], Random(seed)).arrivals for seed in (1, 1, 2))
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)

    def test_burst(self) -> None:
        """Each leg of a burst has what its rate says, second by second: none owes or hoards."""
        drawn = draw(burst_legs(100, 10, 90), Random(3))
        counts = {name: drawn.count(name) for name, _, _ in drawn.bounds}
        self.assertEqual(
            counts,
            {"baseline": 3000, "ramp_up": 5500, "spike": 10_000, "ramp_down": 5500, "recovery": 3000},
        )
        seconds = [0] * 90
        for moment in drawn.arrivals:
            seconds[moment // NS] += 1

        def rate(second: int) -> float:
            middle = second + 0.5
            if middle < 30 or middle > 60:
                return 100
            if middle < 40:
                return 100 + 900 * (middle - 30) / 10
            return 1000 if middle < 50 else 1000 - 900 * (middle - 50) / 10

        for second, count in enumerate(seconds):
            # Five standard deviations of a Poisson count.
            self.assertLess(abs(count - rate(second)), 5 * rate(second) ** 0.5, second)

    def test_burst_is_scaled(self) -> None:
        """A shorter burst has the same legs in the same proportions."""
        seconds = [leg.seconds for leg in burst_legs(5, 10, 9)]
        for got, wanted in zip(seconds, (3, 1, 1, 1, 3), strict=True):
            self.assertAlmostEqual(got, wanted)

    @settings(max_examples=60, deadline=None)
    @given(LEGS, st.none() | st.integers(0, 9))
    def test_any_legs(self, legs: list[Leg], seed: int | None) -> None:
        """Moments ascend, stay within their leg, and the count is the integral's."""
        drawn = draw(legs, None if seed is None else Random(seed))
        self.assertEqual(len(drawn.arrivals), round(sum(leg.integral for leg in legs)))
        self.assertEqual(list(drawn.arrivals), sorted(drawn.arrivals))
        begun = 0.0
        for leg, (name, first, end) in zip(legs, drawn.bounds, strict=True):
            self.assertEqual(name, leg.name)
            for moment in drawn.arrivals[first:end]:
                self.assertGreaterEqual(moment, int(begun * NS) - 1)
                self.assertLessEqual(moment, (begun + leg.seconds) * NS + 1)
            begun += leg.seconds
