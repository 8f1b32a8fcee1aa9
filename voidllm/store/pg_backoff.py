"""How long to wait between attempts to connect."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double, with jitter so that many boxes do not come back as one.

    :param first_s: longest first delay; every delay is at least half of its longest.
    :param most_s: longest delay of all.
    """

    def __init__(self, rng: random.Random, first_s: float = 0.2, most_s: float = 5.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._most_s = most_s
        self._longest_s = first_s

    def next(self) -> float:
        """Give the delay before the next attempt."""
        delay = self._longest_s * self._rng.uniform(0.5, 1.0)
        self._longest_s = min(self._longest_s * 2, self._most_s)
        return delay

    def reset(self) -> None:
        """Start again with the shortest."""
        self._longest_s = self._first_s
