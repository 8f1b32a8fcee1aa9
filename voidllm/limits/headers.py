"""Rate-limit headers in the form that OpenAI's clients read."""

from __future__ import annotations

from typing import Iterable

from attrs import frozen

Headers = tuple[tuple[bytes, bytes], ...]


@frozen
class Gauge:
    """How one limit stands.

    :ivar limit: the number that may not be exceeded.
    :ivar remaining: how much is left of it, at least 0.
    :ivar reset_ms: milliseconds until all of it is left again, if nothing more is used.
    """

    limit: int
    remaining: int
    reset_ms: int


def duration(ms: int) -> bytes:
    """Render milliseconds as OpenAI does: ``17ms``, ``1.5s``, ``6m0s``, ``23h59m1s``."""
    if ms < 1000:
        return b"%dms" % max(0, ms)
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    tail = b"%d" % seconds
    if rest:
        tail = (b"%d.%03d" % (seconds, rest)).rstrip(b"0")
    if hours:
        return b"%dh%dm%bs" % (hours, minutes, tail)
    return b"%dm%bs" % (minutes, tail) if minutes else tail + b"s"


def tightest(gauges: Iterable[Gauge]) -> Gauge | None:
    """Give the gauge with the least left; of several, the one that resets last."""
    return min(gauges, key=lambda gauge: (gauge.remaining, -gauge.reset_ms), default=None)


def render(requests: Gauge | None, tokens: Gauge | None) -> Headers:
    """Render ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``; what is unlimited is left out."""
    headers: Headers = ()
    for unit, gauge in ((b"requests", requests), (b"tokens", tokens)):
        if gauge is not None:
            headers += (
                (b"x-ratelimit-limit-" + unit, b"%d" % gauge.limit),
                (b"x-ratelimit-remaining-" + unit, b"%d" % gauge.remaining),
                (b"x-ratelimit-reset-" + unit, duration(gauge.reset_ms)),
            )
    return headers
