"""Rate-limit headers in the form that OpenAI's clients read."""

from __future__ import annotations

from functools import lru_cache

Headers = tuple[tuple[bytes, bytes], ...]

_NAMES = {
    unit: (b"x-ratelimit-limit-" + unit, b"x-ratelimit-remaining-" + unit, b"x-ratelimit-reset-" + unit)
    for unit in (b"requests", b"tokens")
}
#: What stands behind whole seconds, for each number of milliseconds.
_FRACTIONS = (b"s", *((b".%03d" % ms).rstrip(b"0") + b"s" for ms in range(1, 1000)))


def duration(ms: int) -> bytes:
    """Render milliseconds as OpenAI does: ``17ms``, ``1.5s``, ``6m0s``, ``23h59m1s``."""
    if ms < 1000:
        return b"%dms" % max(0, ms)
    return _whole(ms // 1000) + _FRACTIONS[ms % 1000]


@lru_cache(maxsize=256)
def _whole(seconds: int) -> bytes:
    if seconds < 60:
        return b"%d" % seconds
    if seconds < 3600:
        return b"%dm%d" % (seconds // 60, seconds % 60)
    return b"%dh%dm%d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)


@lru_cache(maxsize=1024)
def _limit(unit: bytes, limit: int) -> tuple[bytes, bytes]:
    return _NAMES[unit][0], b"%d" % limit


# Of many requests in one millisecond most say the same here.
@lru_cache(maxsize=64)
def _reset(unit: bytes, reset_ms: int) -> tuple[bytes, bytes]:
    return _NAMES[unit][2], duration(reset_ms)


def render(unit: bytes, limit: int, left: int, reset_ms: int) -> Headers:
    """Render ``x-ratelimit-{limit,remaining,reset}-<unit>``.

    :param unit: ``requests`` or ``tokens``.
    :param left: how much is left; what is below zero, since settled truth may be over a limit,
        is shown as zero.
    :param reset_ms: milliseconds until all of it is left again, if nothing more is used.
    """
    return (
        _limit(unit, limit),
        (_NAMES[unit][1], b"%d" % (left if left > 0 else 0)),
        _reset(unit, reset_ms),
    )
