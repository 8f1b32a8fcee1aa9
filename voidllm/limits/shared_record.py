"""One process' records in a shared table: how they move with time, and are taken over."""

from __future__ import annotations

import struct
from typing import Callable, Sequence

from voidllm.core.principal import Limits
from voidllm.limits.counter import Counter
from voidllm.limits.shared_table import (
    BUSY,
    DAY_WORDS,
    DAYS,
    MONTH_WORDS,
    MONTHS,
    REQUESTS,
    SEQ,
    TICK,
    TOKENS,
    WORD,
    SharedTable,
)
from voidllm.limits.windows import SLOTS, CalendarWindow

#: Reads the buckets of a record: requests and tokens in turn.
read_buckets = struct.Struct(f"{2 * SLOTS}q").unpack_from

Used = tuple[int, int, int]


class Record:
    """Where one process counts one scope, and the limits last seen for it.

    What was used is in the table only, so a record may be made anew at any time.

    :ivar rpm: requests a minute, 0 if unlimited; so are the next four.
    :ivar first: the byte at which the summaries of the scope's cell begin.
    :ivar at: the first word of the own summary; ``buckets`` of the own buckets, ``day_at`` and
        ``month_at`` of the current day and month.
    :ivar stamp: the owner's moment for which the record was made ready.
    :ivar refused: the last tick at which it refused something.
    :ivar counter: limits, and the sums of all columns when they were last looked at.
    :ivar seqs: the sequence words of all columns for which ``debts`` is right.
    :ivar debts: what is in the columns' words and does not count any more: requests and tokens
        of the minute, requests and tokens of the day, tokens of the month.
    :ivar merged: what all columns counted, second by second, when they summed up to ``merged_for``.
    """

    __slots__ = (
        "at",
        "buckets",
        "cell",
        "counter",
        "day_at",
        "debts",
        "debts_stamp",
        "first",
        "limits",
        "merged",
        "merged_for",
        "month_at",
        "refused",
        "rpd",
        "rpm",
        "seqs",
        "stamp",
        "tpc",
        "tpd",
        "tpm",
    )

    def __init__(self, table: SharedTable, cell: int, column: int) -> None:
        self.cell = cell
        self.first = table.summary(cell, 0) * WORD
        self.at = table.summary(cell, column)
        self.buckets = table.buckets(cell, column)
        self.day_at = self.at + DAYS
        self.month_at = self.at + MONTHS
        self.stamp = -1
        self.refused = -2
        self.counter = Counter()
        self.limits: Limits | None = None
        self.rpm = self.tpm = self.rpd = self.tpd = self.tpc = 0
        self.seqs: tuple[int, ...] = ()
        self.debts = (0, 0, 0, 0, 0)
        self.debts_stamp = -1
        self.merged: Counter | None = None
        self.merged_for: tuple[int, ...] = ()

    def adopt(self, limits: Limits) -> None:
        """Use ``limits`` from now on."""
        self.limits = limits
        self.merged = None
        self.counter.adopt(limits)
        self.rpm = limits.requests_per_minute
        self.tpm = limits.tokens_per_minute
        self.rpd = limits.requests_per_day
        self.tpd = limits.tokens_per_day
        self.tpc = limits.tokens_per_month


class RecordKeeper:
    """Moves the records of one column; nobody else may write them.

    A process can be killed between any two words. Then buckets are what is true of the minute:
    whoever takes the column over adds them up anew. A calendar slot is made :data:`BUSY` first and
    gets its period last, and what is to be remembered is copied before it is overwritten.

    :param fence: see :func:`~voidllm.limits.shared_table.make_fence`.
    """

    def __init__(self, table: SharedTable, column: int, fence: Callable[[], None]) -> None:
        self._table = table
        self._view = table.view
        self._column = column
        self._fence = fence

    def open(self, cell: int) -> Record:
        """Give the record of a cell, put right if its last owner was killed in the midst of a write."""
        record = Record(self._table, cell, self._column)
        view, at = self._view, record.at
        found = read_buckets(self._table.data, record.buckets * WORD)
        requests, tokens = sum(found[::2]), sum(found[1::2])
        torn = view[at + SEQ] & 1
        if torn or requests != view[at + REQUESTS] or tokens != view[at + TOKENS]:
            if not torn:
                self._begin(at)
            view[at + REQUESTS] = requests
            view[at + TOKENS] = tokens
            for slot in (
                at + DAYS,
                at + DAYS + DAY_WORDS,
                at + MONTHS,
                at + MONTHS + MONTH_WORDS,
            ):
                if view[slot] == BUSY:
                    view[slot] = 0
            self._end(at)
        return record

    def freshen(self, record: Record, tick: int, day: int, month: int) -> None:
        """Forget what is older than a minute, and make ``day`` and ``month`` current."""
        view, at = self._view, record.at
        days = at + DAYS + DAY_WORDS * (day & 1)
        months = at + MONTHS + MONTH_WORDS * (month & 1)
        passed = tick - view[at + TICK]
        if passed > 0 or view[days] != day or view[months] != month:
            self._begin(at)
            if passed > 0:
                self._forget(record, tick, passed)
            if view[days] != day:
                days = self._enter(at + DAYS, DAY_WORDS, day)
            if view[months] != month:
                months = self._enter(at + MONTHS, MONTH_WORDS, month)
            self._end(at)
        record.day_at, record.month_at = days, months

    def take_back(self, record: Record, tick: int, tokens: int) -> None:
        """Give back tokens that were counted at ``tick``, if that is still remembered."""
        view, at = self._view, record.at
        now = view[at + TICK]
        if now - SLOTS < tick <= now:
            bucket = record.buckets + 2 * (tick % SLOTS) + 1
            counted = view[bucket]
            if tokens > counted:
                tokens = counted
            # The bucket first: whoever subtracts it from a total that was read before must not
            # subtract what the total has lost already.
            view[bucket] = counted - tokens
            view[at + TOKENS] -= tokens

    def adjust(self, record: Record, day: int, month: int, tokens: int) -> None:
        """Add ``tokens``, which may be negative, to a day and a month if they are remembered."""
        self._begin(record.at)
        for first, width, period in (
            (record.at + DAYS, DAY_WORDS, day),
            (record.at + MONTHS, MONTH_WORDS, month),
        ):
            at = self._find(first, width, period)
            if at >= 0:
                last = at + width - 1
                self._view[last] = max(0, self._view[last] + tokens)
        self._end(record.at)

    def _forget(self, record: Record, tick: int, passed: int) -> None:
        view, at, buckets = self._view, record.at, record.buckets
        requests, tokens = view[at + REQUESTS], view[at + TOKENS]
        if requests or tokens:
            for old in range(tick + 1 - min(passed, SLOTS), tick + 1):
                bucket = buckets + 2 * (old % SLOTS)
                gone = view[bucket]
                if gone:
                    requests -= gone
                    view[bucket] = 0
                gone = view[bucket + 1]
                if gone:
                    tokens -= gone
                    view[bucket + 1] = 0
            view[at + REQUESTS] = requests
            view[at + TOKENS] = tokens
            # A reader that sees the new tick must see what was forgotten for it.
            self._fence()
        view[at + TICK] = tick

    def _find(self, first: int, width: int, period: int) -> int:
        for at in (first + width * (period & 1), first + width * (1 - (period & 1))):
            if self._view[at] == period:
                return at
        return -1

    def _enter(self, first: int, width: int, period: int) -> int:
        """Make a period current; gives its slot.

        The later of the two that are kept is in the slot of its parity, so that readers usually
        find a period of all columns in the same place. The other one is in the other slot.
        """
        known = {}
        for parity in (0, 1):
            kept = self._slot(first + width * parity, width)
            # A copy may have been left by somebody who was killed; the one at home goes on.
            if kept[0] >= 0 and (kept[0] not in known or parity == kept[0] & 1):
                known[kept[0]] = kept
        window = CalendarWindow()
        latest, *rest = sorted(known.values(), reverse=True) or [window.other]
        window.period, window.requests, window.tokens = latest
        if rest:
            window.other = rest[0]
        window.enter(period)
        earlier, later = sorted(((window.period, window.requests, window.tokens), window.other))
        home = later[0] & 1
        self._put(first + width * (1 - home), width, earlier)
        self._put(first + width * home, width, later)
        return self._find(first, width, period)

    def _slot(self, at: int, width: int) -> Used:
        period = self._view[at]
        if not 0 < period < BUSY:
            return (-1, 0, 0)
        return (period, self._view[at + 1] if width == DAY_WORDS else 0, self._view[at + width - 1])

    def _put(self, at: int, width: int, used: Used) -> None:
        if used == self._slot(at, width):
            return
        view = self._view
        period, requests, tokens = used
        view[at] = BUSY
        self._fence()
        if width == DAY_WORDS:
            view[at + 1] = requests
        view[at + width - 1] = tokens
        self._fence()
        view[at] = max(0, period)

    def _begin(self, at: int) -> None:
        self._view[at + SEQ] |= 1
        self._fence()

    def _end(self, at: int) -> None:
        self._fence()
        self._view[at + SEQ] = (self._view[at + SEQ] | 1) + 1


def used_in(words: Sequence[int], first: int, width: int, period: int) -> tuple[int, int]:
    """Give requests and tokens that a summary counts in a period, as if its owner entered it.

    :param words: a summary; ``first`` and ``width`` are those of its days or months.
    """
    slots = (first + width * (period & 1), first + width * (1 - (period & 1)))
    known = []
    for at in slots:
        if words[at] == period:
            return words[at + 1], words[at + width - 1]
        if 0 < words[at] < BUSY:
            known.append(at)
    if known:
        # As CalendarWindow does: a clock before all that is known grants nothing anew.
        earliest = min(known, key=words.__getitem__)
        if period < words[earliest]:
            return words[earliest + 1], words[earliest + width - 1]
    return 0, 0
