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
    seconds, rest = ms // 1000, ms % 1000
    tail = (b"%d.%03d" % (seconds % 60, rest)).rstrip(b"0") if rest else b"%d" % (seconds % 60)
    if seconds >= 3600:
        return b"%dh%dm%bs" % (seconds // 3600, seconds // 60 % 60, tail)
    return b"%dm%bs" % (seconds // 60, tail) if seconds >= 60 else tail + b"s"


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
