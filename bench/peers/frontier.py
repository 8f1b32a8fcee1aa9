"""The highest rate at which the added P99 keeps a bound: a bisection over rates.

Rates are tried on a logarithmic scale between the highest that held the bound and the lowest above it
that did not, until both are within ten per cent or the time is used up. What was tried for one bound
counts for the others. A rate is measured once, by several pairs of direct and proxied windows; a single
hiccup of the machine therefore decides nothing, and neither does a single lucky window.

A server that gets a little more than it can do falls behind by that share of the window: 5 % of a second
are 50 ms. The rate at the loosest bound is therefore known to some per cent only.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Callable, Sequence

from attrs import frozen

#: Bounds of the added P99, in microseconds.
BOUNDS_US = (5_000, 10_000, 50_000)
CLOSE_ENOUGH = 1.1
#: Nothing is measured below this rate: a window would hold too few requests for a P99.
LOWEST_RPS = 5.0


@frozen
class Window:
    """One pair of windows.

    :ivar added_p99_us: difference of the two P99; ``None`` when nothing was answered.
    :ivar errors: requests that failed.
    :ivar behind: replies came long after the last request was due.
    :ivar generator_late: generator or mock were at their end, not the server.
    """

    added_p99_us: float | None
    errors: int = 0
    behind: bool = False
    generator_late: bool = False

    @property
    def overloaded(self) -> bool:
        """The server did not keep up, whatever bound is asked for."""
        return self.added_p99_us is None or self.errors > 0 or self.behind


@frozen
class Tried:
    """What was seen at one rate."""

    rate: float
    windows: tuple[Window, ...]

    def holds(self, bound_us: float) -> bool:
        """Say whether most windows kept up and the median of their added P99 is within the bound."""
        if 2 * sum(w.overloaded or w.generator_late for w in self.windows) >= len(self.windows):
            return False
        return self.added_p99_us <= bound_us

    @property
    def added_p99_us(self) -> float:
        """The median over the windows; infinite where nothing was answered."""
        return median(math.inf if w.overloaded else w.added_p99_us or 0.0 for w in self.windows)

    @property
    def generator_late(self) -> bool:
        """Most windows say nothing about the server."""
        return 2 * sum(w.generator_late for w in self.windows) > len(self.windows)


@frozen
class Found:
    """The frontier at one bound.

    :ivar rps: the highest rate that held it, 0 when none did.
    :ivar next_rps: the lowest rate tried above it that did not; ``None`` when there is none, the
        frontier is then only known from below.
    :ivar limited_by: ``server``, ``generator`` (the next rate was beyond generator and mock) or
        ``time`` (the search ended early).
    """

    bound_us: float
    rps: float
    next_rps: float | None
    limited_by: str


@frozen
class Frontier:
    """All bounds, and every rate that was tried, ascending."""

    found: tuple[Found, ...]
    tried: tuple[Tried, ...]

    def at(self, bound_us: float) -> Found:
        """Give what was found for one of the bounds."""
        return next(found for found in self.found if found.bound_us == bound_us)


def search(
    measure: Callable[[float], Sequence[Window]],
    ceiling: float,
    in_time: Callable[[], bool],
    bounds_us: Sequence[float] = BOUNDS_US,
) -> Frontier:
    """Find the frontier.

    :param measure: gives the pairs of windows at a rate.
    :param ceiling: a rate that cannot be reached; it is not tried itself.
    :param in_time: asked before each rate.
    """
    tried: dict[float, Tried] = {}
    found = []
    # The loosest bound first: its rates narrow down those of the others.
    for bound in sorted(bounds_us, reverse=True):
        ended = ""
        while not ended:
            low, high = _bracket(tried, bound, ceiling)
            if high <= max(low, LOWEST_RPS) * CLOSE_ENOUGH:
                above = tried.get(high)
                ended = "generator" if above is not None and above.generator_late else "server"
            elif not in_time():
                ended = "time"
            else:
                rate = math.sqrt(low * high) if low else max(LOWEST_RPS, high / 3)
                tried[rate] = Tried(rate, tuple(measure(rate)))
        found.append(Found(bound, low, high if high in tried else None, ended))
    return Frontier(tuple(reversed(found)), tuple(tried[rate] for rate in sorted(tried)))


def _bracket(tried: dict[float, Tried], bound: float, ceiling: float) -> tuple[float, float]:
    low = max((rate for rate, one in tried.items() if one.holds(bound)), default=0.0)
    high = min((rate for rate in tried if rate > low and not tried[rate].holds(bound)), default=ceiling)
    return low, max(low, high)
