"""How many refusals of one actor go on record: a few at once, then a few a minute; the rest is counted."""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable

from attrs import define

#: Entries at once, and the seconds after which there may be one more.
BURST = 20
EVERY_S = 3.0
_MOST_ACTORS = 1000


@define
class _Bucket:
    left: float
    at_s: float
    skipped: int = 0


class RefusalMeter:
    """Keeps somebody whose program tries all day from filling the audit log.

    The count of those who have not asked for longest is forgotten when there are very many.

    :param seconds: monotonic seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, subject: str) -> int | None:
        """Say whether a refusal of this actor goes on record.

        :returns: how many did not since the last that did; ``None`` if this one does not either.
        """
        now_s = self._seconds()
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = self._buckets[subject] = _Bucket(BURST, now_s)
            if len(self._buckets) > _MOST_ACTORS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(subject)
        bucket.left = min(BURST, bucket.left + (now_s - bucket.at_s) / EVERY_S)
        bucket.at_s = now_s
        if bucket.left < 1:
            bucket.skipped += 1
            return None
        bucket.left -= 1
        skipped, bucket.skipped = bucket.skipped, 0
        return skipped
