"""Spans of time as people write them: ``1h30m``, ``250ms``, ``90d``."""

from __future__ import annotations

import re
from fractions import Fraction

from voidllm.config.errors import Unusable

_UNIT_MS = {
    "ns": Fraction(1, 1_000_000),
    "us": Fraction(1, 1_000),
    "µs": Fraction(1, 1_000),
    "μs": Fraction(1, 1_000),
    "ms": Fraction(1),
    "s": Fraction(1_000),
    "m": Fraction(60_000),
    "h": Fraction(3_600_000),
    "d": Fraction(86_400_000),
    "w": Fraction(604_800_000),
}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|μs|ms|s|m|h|d|w)")
_MOST_MS = 100 * 366 * 86_400_000


class Duration(int):
    """A span of time: an integer number of milliseconds."""

    __slots__ = ()

    @property
    def seconds(self) -> float:
        """The same in seconds, as reactors want it."""
        return self / 1000

    def __str__(self) -> str:
        """Write it so that :func:`parse_duration` reads it back, largest unit first."""
        rest, text = int(self), ""
        for unit in ("w", "d", "h", "m", "s", "ms"):
            count, rest = divmod(rest, int(_UNIT_MS[unit]))
            # Weeks only when nothing else is needed: "90d" says more than "12w6d".
            if unit == "w" and rest:
                rest += count * int(_UNIT_MS["w"])
            elif count:
                text += f"{count}{unit}"
        return text or "0s"

    __repr__ = __str__


def parse_duration(text: str) -> Duration:
    """Read a duration: numbers with units ``ns us ms s m h d w``, added up; ``0`` needs no unit.

    A day is 24 hours. Parts of a millisecond are rounded up, so that nothing turns into zero.

    :raises Unusable: if it is no such thing, negative, or longer than 100 years.
    """
    if text in ("0", "+0", "-0"):
        return Duration(0)
    total, position = Fraction(0), int(text.startswith("+"))
    while match := _PART.match(text, position):
        total += Fraction(match[1] if match[1][-1] != "." else match[1][:-1]) * _UNIT_MS[match[2]]
        position = match.end()
    if position < len(text) or (total == 0 and not _PART.search(text)):
        raise Unusable("must be a duration such as 30s, 1h30m or 90d, with a unit")
    milliseconds = -(-total.numerator // total.denominator)
    if milliseconds > _MOST_MS:
        raise Unusable("must be a duration of at most 100 years")
    return Duration(milliseconds)
