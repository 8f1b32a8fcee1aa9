"""Rate-limit headers in the form that OpenAI's clients read."""

from __future__ import annotations

Headers = tuple[tuple[bytes, bytes], ...]

_NAMES = {
    unit: (b"x-ratelimit-limit-" + unit, b"x-ratelimit-remaining-" + unit, b"x-ratelimit-reset-" + unit)
    for unit in (b"requests", b"tokens")
}


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


def render(unit: bytes, limit: int, left: int, reset_ms: int) -> Headers:
    """Render ``x-ratelimit-{limit,remaining,reset}-<unit>``.

    :param unit: ``requests`` or ``tokens``.
    :param left: how much is left; what is below zero, since settled truth may be over a limit,
        is shown as zero.
    :param reset_ms: milliseconds until all of it is left again, if nothing more is used.
    """
    limit_name, left_name, reset_name = _NAMES[unit]
    return (
        (limit_name, b"%d" % limit),
        (left_name, b"%d" % (left if left > 0 else 0)),
        (reset_name, duration(reset_ms)),
    )
