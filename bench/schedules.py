"""When requests are meant to leave: drawn from the integral of the rate, so that no leg owes or hoards.

A schedule is a list of legs, each with a rate at its beginning and at its end and a straight line
between. Each leg gets exactly as many requests as its integral says (rounded over the whole schedule,
so that nothing is lost to rounding), and each of them its moment by inverting the integral: at random,
which is a Poisson process conditioned on its count, or evenly.
"""

from __future__ import annotations

import math
from array import array
from random import Random
from typing import Sequence

from attrs import frozen

NS = 1_000_000_000


@frozen
class Leg:
    """A part of a schedule.

    :ivar rate: requests a second at its beginning.
    :ivar end_rate: at its end; ``None`` for the same.
    """

    name: str
    seconds: float
    rate: float
    end_rate: float | None = None

    @property
    def integral(self) -> float:
        """Give how many requests belong into it."""
        last = self.rate if self.end_rate is None else self.end_rate
        return (self.rate + last) / 2 * self.seconds

    def at(self, share: float) -> float:
        """Give the second, from its beginning, by which ``share`` of its requests have left."""
        last = self.rate if self.end_rate is None else self.end_rate
        slope = last - self.rate
        if abs(slope) < 1e-9 * max(self.rate, last, 1e-9):
            return share * self.seconds
        root = math.sqrt(self.rate**2 + slope * (self.rate + last) * share)
        return (root - self.rate) / slope * self.seconds


@frozen
class Schedule:
    """Moments, and which leg each belongs to.

    :ivar arrivals: nanoseconds from the beginning, ascending.
    :ivar bounds: for each leg its name, the index of its first request and one after its last.
    """

    arrivals: array[int]
    bounds: tuple[tuple[str, int, int], ...]

    def count(self, leg: str) -> int:
        """Give how many requests the legs of this name have."""
        return sum(end - start for name, start, end in self.bounds if name == leg)


def draw(legs: Sequence[Leg], rng: Random | None = None) -> Schedule:
    """Draw a schedule; without ``rng`` requests are spaced evenly.

    :param rng: uniform numbers; the same seed gives the same schedule.
    """
    arrivals: array[int] = array("Q")
    bounds = []
    integral = begun = 0.0
    for leg in legs:
        before = round(integral)
        integral += leg.integral
        count = round(integral) - before
        if rng is None:
            shares = [(i + 0.5) / count for i in range(count)]
        else:
            shares = sorted(rng.random() for _ in range(count))
        arrivals.extend(int((begun + leg.at(share)) * NS) for share in shares)
        bounds.append((leg.name, before, before + count))
        begun += leg.seconds
    return Schedule(arrivals, tuple(bounds))


def burst_legs(base: float, factor: float, seconds: float) -> tuple[Leg, ...]:
    """Give baseline, ramp, spike, ramp down and recovery: 30, 10, 10, 10 and 30 parts of 90.

    :param base: requests a second before and after; the spike has ``factor`` times as many.
    :param seconds: length of the whole.
    """
    part, peak = seconds / 90, base * factor
    return (
        Leg("baseline", 30 * part, base),
        Leg("ramp_up", 10 * part, base, peak),
        Leg("spike", 10 * part, peak),
        Leg("ramp_down", 10 * part, peak, base),
        Leg("recovery", 30 * part, base),
    )
