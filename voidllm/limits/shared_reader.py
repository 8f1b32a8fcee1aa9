"""Adds up what all columns of a shared table say of one scope."""

from __future__ import annotations

import struct
from operator import add
from typing import Callable

from voidllm.limits.counter import Counter, Now
from voidllm.limits.shared_record import Record, read_buckets, used_in
from voidllm.limits.shared_table import (
    DAY_WORDS,
    DAYS,
    LAST,
    LAST_BYTE,
    MONTH_WORDS,
    MONTHS,
    REQUESTS,
    REQUESTS_BYTE,
    SEQ,
    SUMMARY_WORDS,
    TICK,
    TOKENS,
    TOKENS_BYTE,
    WORD,
    SharedTable,
)
from voidllm.limits.windows import SLOTS, SlidingMinute

# A column moves a few microseconds a second. One that still does was killed, or has lost the processor.
_TRIES = 4
_read_summary = struct.Struct(f"{SUMMARY_WORDS}q").unpack_from

Sums = tuple[int, int, int, int, int]


class SharedReader:
    """Reads foreign columns, and writes nothing.

    Words of a column that its owner has not touched for a while hold too much: seconds that are
    over, a day that is over. The words as they are never hold too little, so they are enough to
    admit; what has to be subtracted is worked out only when they are not.

    :param fence: see :func:`~voidllm.limits.shared_table.make_fence`.
    :ivar day_byte: bytes from a cell's first to the requests of today, where they usually are;
        ``month_byte`` to the tokens of this month. See :meth:`turn`.
    """

    def __init__(self, table: SharedTable, fence: Callable[[], None]) -> None:
        self._table = table
        self._fence = fence
        self.day_byte = self.month_byte = 0

    def turn(self, day: int, month: int) -> None:
        """Look for the counts of that day and month from now on."""
        self.day_byte = WORD * (DAYS + DAY_WORDS * (day & 1) + 1)
        self.month_byte = WORD * (MONTHS + MONTH_WORDS * (month & 1) + 1)

    def sums(self, record: Record, stamp: int, now: Now) -> Sums:
        """Give what all columns count now, as far as it is limited: requests and tokens of the
        minute and of the day, tokens of the month.

        :param stamp: names the second and day of ``now``.
        """
        if record.debts_stamp == stamp:
            gather, data, first = self._table.gather, self._table.data, record.first
            day, month = first + self.day_byte, first + self.month_byte
            # What nothing limits need not be known.
            requests = tokens = day_requests = day_tokens = month_tokens = 0
            if record.rpm or record.tpm:
                requests = sum(gather(data, first + REQUESTS_BYTE))
                tokens = sum(gather(data, first + TOKENS_BYTE))
            if record.rpd:
                day_requests = sum(gather(data, day))
            if record.tpd:
                day_tokens = sum(gather(data, day + WORD))
            if record.tpc:
                month_tokens = sum(gather(data, month))
            # Read last: if nobody has moved until now, the debts were right for what was read.
            if gather(data, first) == record.seqs:
                debts = record.debts
                if debts is _NONE:
                    return requests, tokens, day_requests, day_tokens, month_tokens
                return (
                    requests - debts[0],
                    tokens - debts[1],
                    day_requests - debts[2],
                    day_tokens - debts[3],
                    month_tokens - debts[4],
                )
        return self._add_up(record, stamp, now)

    def fill(self, record: Record, stamp: int, now: Now) -> Counter:
        """Give the record's counter with the sums of now, for :func:`~voidllm.limits.counter.standing`."""
        counter = record.counter
        minute = counter.minute
        if minute is None:
            minute = counter.minute = SlidingMinute(now.tick)
        minute.tick = now.tick
        day, month = counter.day, counter.month
        day.period, month.period = now.day, now.month
        minute.requests, minute.tokens, day.requests, day.tokens, month.tokens = self.sums(record, stamp, now)
        if record.rpm or record.tpm:
            minute.last = max(self._table.gather(self._table.data, record.first + LAST_BYTE))
        return counter

    def merged(self, record: Record, stamp: int, now: Now) -> Counter:
        """Give a counter with what all columns count, second by second; not to be changed."""
        # In a flood nothing is counted, so the same answer will do. If others give back and count
        # the same number within a second, a waiting time may be that of a moment ago.
        lasts = self._table.gather(self._table.data, record.first + LAST_BYTE)
        sums = (stamp, *lasts, *self.sums(record, stamp, now))
        if record.merged is None or record.merged_for != sums:
            record.merged, record.merged_for = self._merge(record, now), sums
        return record.merged

    def _merge(self, record: Record, now: Now) -> Counter:
        counter = Counter()
        if record.limits is not None:
            counter.adopt(record.limits)
        minute = counter.wake(now.tick)
        minute.last = 0
        counter.day.enter(now.day)
        counter.month.enter(now.month)
        for column in range(self._table.columns):
            words, buckets = self._read_all(record.cell, column)
            minute.last = max(minute.last, words[LAST])
            if buckets:
                requests, tokens = list(buckets[::2]), list(buckets[1::2])
                for over in range(max(words[TICK], now.tick - SLOTS) + 1, now.tick + 1):
                    requests[over % SLOTS] = tokens[over % SLOTS] = 0
                minute.request_slots = list(map(add, minute.request_slots, requests))
                minute.token_slots = list(map(add, minute.token_slots, tokens))
            counter.day.add(*used_in(words, DAYS, DAY_WORDS, now.day))
            counter.month.add(*used_in(words, MONTHS, MONTH_WORDS, now.month))
        minute.requests, minute.tokens = sum(minute.request_slots), sum(minute.token_slots)
        return counter

    def _add_up(self, record: Record, stamp: int, now: Now) -> Sums:
        sums, debts, seqs = [0] * 5, [0] * 5, []
        day_home, month_home = DAYS + DAY_WORDS * (now.day & 1), MONTHS + MONTH_WORDS * (now.month & 1)
        for column in range(self._table.columns):
            words, gone_requests, gone_tokens = self._read(record.cell, column, now.tick)
            day_requests, day_tokens = used_in(words, DAYS, DAY_WORDS, now.day)
            month_tokens = used_in(words, MONTHS, MONTH_WORDS, now.month)[1]
            raw = (
                words[REQUESTS],
                words[TOKENS],
                words[day_home + 1],
                words[day_home + 2],
                words[month_home + 1],
            )
            counted = (raw[0] - gone_requests, raw[1] - gone_tokens, day_requests, day_tokens, month_tokens)
            for number in range(5):
                sums[number] += counted[number]
                debts[number] += raw[number] - counted[number]
            # A period that has not its usual place may be counted in while its debt is kept.
            usual = words[day_home] <= now.day and words[month_home] <= now.month
            seqs.append(words[SEQ] if usual and not words[SEQ] & 1 else -1)
        record.seqs = tuple(seqs)
        record.debts = (debts[0], debts[1], debts[2], debts[3], debts[4]) if any(debts) else _NONE
        record.debts_stamp = stamp
        return sums[0], sums[1], sums[2], sums[3], sums[4]

    def _read(self, cell: int, column: int, tick: int) -> tuple[tuple[int, ...], int, int]:
        """Read a summary, and what of its minute is over at ``tick``."""
        view, data = self._table.view, self._table.data
        at = self._table.summary(cell, column)
        for _ in range(_TRIES):
            words = _read_summary(data, at * WORD)
            passed = tick - words[TICK]
            if not (words[REQUESTS] or words[TOKENS]) or passed <= 0:
                requests = tokens = 0
            elif passed >= SLOTS:
                requests, tokens = words[REQUESTS], words[TOKENS]
            else:
                requests = tokens = 0
                bucket = self._table.buckets(cell, column)
                for then in range(words[TICK] + 1, tick + 1):
                    requests += view[bucket + 2 * (then % SLOTS)]
                    tokens += view[bucket + 2 * (then % SLOTS) + 1]
            self._fence()
            if not words[SEQ] & 1 and view[at + SEQ] == words[SEQ]:
                return words, requests, tokens
        # Too much rather than too little, and that for a minute at most: nothing is over yet.
        if passed < SLOTS:
            requests = tokens = 0
        return words, requests, tokens

    def _read_all(self, cell: int, column: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        view, data = self._table.view, self._table.data
        at, buckets = self._table.summary(cell, column), self._table.buckets(cell, column)
        for _ in range(_TRIES):
            words = _read_summary(data, at * WORD)
            if not (words[REQUESTS] or words[TOKENS]):
                return words, ()
            found = read_buckets(data, buckets * WORD)
            self._fence()
            if not words[SEQ] & 1 and view[at + SEQ] == words[SEQ]:
                break
        return words, found


_NONE: Sums = (0, 0, 0, 0, 0)
