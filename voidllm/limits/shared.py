"""The limiter of several processes, which count together in shared memory."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Callable, Iterable, Iterator, Mapping

from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import ILimiter
from voidllm.core.principal import Scope
from voidllm.core.usage import UsageEvent
from voidllm.limits.counter import Now, standing
from voidllm.limits.headers import Headers
from voidllm.limits.recount import Key, ScopeUsed, recount
from voidllm.limits.refusing import refusal
from voidllm.limits.reservation import UNLIMITED, Reservation, SettledTwice
from voidllm.limits.shared_cells import CellBook
from voidllm.limits.shared_reader import SharedReader, Sums
from voidllm.limits.shared_record import Record, RecordKeeper
from voidllm.limits.shared_table import (
    LAST,
    REQUESTS,
    REQUESTS_BYTE,
    TOKENS,
    TOKENS_BYTE,
    WORD,
    SharedTable,
    create_table,
    make_fence,
)
from voidllm.limits.windows import DAY_MS, SLOTS, TICK_MS, month_of

__all__ = ["CellBook", "SharedLimiter", "SharedTable", "create_table"]

_FIRST_SWEPT = 64
_TRIES = 3
# Sums of these stay far below 64 bits, whatever a caller or an upstream claims.
_MOST_TOKENS = 1 << 40
_BUSY_RETRY_MS = 5000

_warn = logging.getLogger(__name__).error


@implementer(ILimiter)
class SharedLimiter:
    """Decides as :class:`~voidllm.limits.ledger.MemoryLimiter` does, with what all columns count.

    It adds to its own column in all scopes, then reads all columns, and takes back if a limit is
    exceeded. Of two that race for what is left, at least one therefore sees the other: a limit
    is never exceeded, though both may be refused. So that a flood of refused requests does not
    crowd others out, a scope that has just refused is looked at before anything is added.

    All processes have one clock, that of the wall, as long as it goes forwards. Where it is set
    back by a second or more, the clock of the minutes goes on, and whoever sees it first tells
    the others; set back by less, it stands still.

    A process that is killed leaves its column as it is to its successor. What it had admitted and
    not settled stays counted as estimated: very likely somebody charges for it. So does the one
    request that it may have been about to admit.

    :param table: where to count.
    :param column: the own one; nobody else may write it.
    :param warn: told once if a scope has no cell.
    """

    def __init__(self, table: SharedTable, column: int, warn: Callable[[str], None] = _warn) -> None:
        if not 0 <= column < table.columns:
            raise ValueError("the table of limits has no such column")
        self._table = table
        self._column = column
        self._warn = warn
        self._warned = False
        self._view = table.view
        self._data = table.data
        self._gather = table.gather
        self._fence = make_fence()
        self._keeper = RecordKeeper(table, column, self._fence)
        self._reader = SharedReader(table, self._fence)
        self._records: dict[int, Record] = {}
        self._sweep: Iterator[int] = iter(())
        self._wall_ms = self._steady_ms = self._tick = self._day = self._month = -1
        self._offset_ms = 0
        self._moment: Now | None = None
        # Changes with the second and the day.
        self._stamp = 0

    def __len__(self) -> int:
        return len(self._records)

    def reserve(self, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> Reservation:
        """Count one request and ``tokens`` in every scope, or in none.

        :param tokens: the estimate; it stands until :meth:`settle`.
        :raises Refusal: as :meth:`voidllm.limits.ledger.MemoryLimiter.reserve`; also 429
            ``rate_limit_exceeded`` when others were about to take the last that was left, and 503
            ``service_unavailable`` for a scope that cannot be counted.
        """
        if not scopes:
            return UNLIMITED
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        tick, stamp, find = self._tick, self._stamp, self._records.get
        look = tokens > _MOST_TOKENS
        records = []
        for scope in scopes:
            record = find(scope.cell) or self._open(scope.cell)
            if record.limits is not scope.limits:
                record.adopt(scope.limits)
            if record.stamp != stamp:
                self._freshen(record)
            if record.refused >= tick - 1:
                look = True
            records.append(record)
        if look:
            self._look(scopes, records, tokens)
        counted = tokens if tokens <= _MOST_TOKENS else _MOST_TOKENS
        if not self._count(records, counted):
            self._contend(scopes, records, tokens, counted)
        return Reservation(scopes, records, counted, tick, self._day, self._month)

    def settle(self, reservation: Reservation, tokens: int, now_ms: int) -> None:
        """Replace the estimate by the truth, which may take a scope over its limit.

        What was reserved too much is given back where it was counted. What was used beyond the
        estimate counts in the current minute, and in the day and month of the reservation.

        :raises SettledTwice: if it was settled before.
        """
        if reservation is UNLIMITED:
            return
        if reservation.settled:
            raise SettledTwice("a reservation is settled once")
        reservation.settled = True
        more = (tokens if tokens <= _MOST_TOKENS else _MOST_TOKENS) - reservation.tokens
        if more == 0:
            return
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        view, stamp, then = self._view, self._stamp, reservation.tick
        usual = reservation.day == self._day and reservation.month == self._month
        bucket = 2 * (self._tick % SLOTS) + 1
        for record in reservation.counters:
            if record.stamp != stamp:
                self._freshen(record)
            record.merged = None
            if more > 0:
                at = record.at
                view[at + LAST] = self._tick
                view[record.buckets + bucket] += more
                view[at + TOKENS] += more
            else:
                self._keeper.take_back(record, then, -more)
            day_at, month_at = record.day_at + 2, record.month_at + 1
            in_day, in_month = view[day_at] + more, view[month_at] + more
            if usual and in_day >= 0 and in_month >= 0:
                view[day_at] = in_day
                view[month_at] = in_month
            else:
                self._keeper.adjust(record, reservation.day, reservation.month, more)

    def headers(self, reservation: Reservation, now_ms: int) -> Headers:
        """Give ``x-ratelimit-*`` of the limits, among all scopes, that leave the least."""
        if not reservation.counters:
            return ()
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        stamp, now, fill = self._stamp, self._now(), self._reader.fill
        return standing([fill(record, stamp, now) for record in reservation.counters], now)

    def used(self, scope: Scope, now_ms: int) -> Sums:
        """Give what all columns count of a scope, as far as it is limited.

        :raises Refusal: 503 for a scope that cannot be counted.
        """
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        record = self._records.get(scope.cell) or self._open(scope.cell)
        if record.limits is not scope.limits:
            record.adopt(scope.limits)
        if record.stamp != self._stamp:
            self._freshen(record)
        return self._reader.sums(record, self._stamp, self._now())

    def rebuild(
        self,
        usages: Iterable[ScopeUsed],
        now_ms: int,
        events: Iterable[UsageEvent] = (),
        wanted: Mapping[Key, int] | None = None,
    ) -> None:
        """Add what was used in the current day and month before the table was made.

        Called once, in the process that made it, before the first request; see
        :meth:`voidllm.limits.ledger.MemoryLimiter.rebuild`.

        :param wanted: the cells of the scopes to seed, by ``(kind, id)``.
        """
        self._advance(now_ms)
        cells = wanted or {}
        for key, used in recount(usages, events, self._day, self._month, cells).items():
            if not 0 <= cells[key] < self._table.cells:
                continue
            record = self._records.get(cells[key]) or self._open(cells[key])
            self._freshen(record)
            self._view[record.day_at + 1] += used.day_requests
            self._view[record.day_at + 2] += used.day_tokens
            self._view[record.month_at + 1] += used.month_tokens

    def _count(self, records: list[Record], tokens: int) -> bool:
        """Add one request; take it back and say no if a limit is exceeded then."""
        view, tick = self._view, self._tick
        slot = 2 * (tick % SLOTS)
        for record in records:
            at, bucket, in_day = record.at, record.buckets + slot, record.day_at
            view[bucket] += 1
            view[at + REQUESTS] += 1
            view[in_day + 1] += 1
            if tokens:
                view[bucket + 1] += tokens
                view[at + TOKENS] += tokens
                view[in_day + 2] += tokens
                view[record.month_at + 1] += tokens
        self._fence()
        data, gather, reader = self._data, self._gather, self._reader
        for record in records:
            first = record.first
            # What is too much in the words may be over already; what is not is enough.
            if (
                (record.rpm and sum(gather(data, first + REQUESTS_BYTE)) > record.rpm)
                or (record.tpm and sum(gather(data, first + TOKENS_BYTE)) > record.tpm)
                or (record.rpd and sum(gather(data, first + reader.day_byte)) > record.rpd)
                or (record.tpd and sum(gather(data, first + reader.day_byte + WORD)) > record.tpd)
                or (record.tpc and sum(gather(data, first + reader.month_byte)) > record.tpc)
            ) and self._exceeded(record, 0, 0):
                self._take_back(records, tokens)
                return False
        for record in records:
            view[record.at + LAST] = tick
        return True

    def _take_back(self, records: list[Record], tokens: int) -> None:
        view, slot = self._view, 2 * (self._tick % SLOTS)
        for record in records:
            view[record.buckets + slot] -= 1
            view[record.buckets + slot + 1] -= tokens
            view[record.at + REQUESTS] -= 1
            view[record.at + TOKENS] -= tokens
            view[record.day_at + 1] -= 1
            view[record.day_at + 2] -= tokens
            view[record.month_at + 1] -= tokens

    def _exceeded(self, record: Record, requests: int, tokens: int) -> bool:
        """Say whether so much more than what is counted exceeds a limit."""
        minute, minute_tokens, day, day_tokens, month_tokens = self._reader.sums(
            record, self._stamp, self._now()
        )
        counter = record.counter
        return (
            minute + requests > counter.rpm
            or minute_tokens + tokens > counter.tpm
            or day + requests > counter.rpd
            or day_tokens + tokens > counter.tpd
            or month_tokens + tokens > counter.tpc
        )

    def _look(self, scopes: tuple[Scope, ...], records: list[Record], tokens: int) -> None:
        for record in records:
            if (record.refused >= self._tick - 1 or tokens > _MOST_TOKENS) and self._exceeded(
                record, 1, tokens
            ):
                self._refuse(scopes, records, tokens)

    def _contend(self, scopes: tuple[Scope, ...], records: list[Record], tokens: int, counted: int) -> None:
        """Try again where what kept it out is gone, because others that raced took it back too."""
        for _ in range(_TRIES):
            self._refuse(scopes, records, tokens)
            if self._count(records, counted):
                return
        now = self._now()
        headers = standing([self._reader.fill(record, self._stamp, now) for record in records], now)
        raise Refusal(429, "rate_limit_exceeded", "too many requests at once", None, TICK_MS, headers)

    def _refuse(self, scopes: tuple[Scope, ...], records: list[Record], tokens: int) -> None:
        now = self._now()
        asked = []
        for scope, record in zip(scopes, records, strict=True):
            if self._exceeded(record, 1, tokens):
                record.refused = now.tick
                asked.append((scope.kind, self._reader.merged(record, self._stamp, now)))
        found = refusal(asked, tokens, now)
        if found is not None:
            raise found

    def _open(self, cell: int) -> Record:
        if not 0 <= cell < self._table.cells:
            if not self._warned:
                self._warned = True
                self._warn("a scope with limits has no place in the table of limits: its work is refused")
            # Uncounted is unlimited, and that nobody wanted.
            message = "the limits of the API key cannot be counted"
            raise Refusal(503, "service_unavailable", message, None, _BUSY_RETRY_MS)
        record = self._records[cell] = self._keeper.open(cell)
        return record

    def _freshen(self, record: Record) -> None:
        self._keeper.freshen(record, self._tick, self._day, self._month)
        record.stamp = self._stamp

    def _advance(self, now_ms: int) -> None:
        began = self._wall_ms < 0
        steady_ms = now_ms + self._offset_ms
        behind_ms = self._steady_ms - steady_ms
        self._wall_ms = now_ms
        self._moment = None
        if behind_ms >= TICK_MS or steady_ms // TICK_MS != self._tick:
            steady_ms = self._meet(now_ms, began)
        elif behind_ms > 0:
            steady_ms = self._steady_ms
        self._steady_ms = steady_ms
        day, tick = now_ms // DAY_MS, steady_ms // TICK_MS
        if day != self._day:
            self._day = day
            self._month = month_of(day)
            self._reader.turn(day, self._month)
            self._stamp += 1
        if tick != self._tick:
            self._tick = tick
            self._stamp += 1
            self._sweep_some()

    def _meet(self, now_ms: int, began: bool) -> int:
        """Agree with the others on the time of the minutes."""
        table = self._table
        offset_ms = max(self._offset_ms, table.offset_ms())
        # Who begins may find records of a predecessor that saw the clock before it was set back.
        # Later on, others are ahead by what passes between two looks at the clock: no reason to hurry.
        known_ms = max(self._steady_ms, table.latest_steady_ms()) if began else self._steady_ms
        if known_ms - now_ms - offset_ms >= TICK_MS:
            offset_ms = known_ms - now_ms
        self._offset_ms = offset_ms
        steady_ms = max(self._steady_ms, now_ms + offset_ms)
        table.publish_clock(self._column, steady_ms, offset_ms)
        return steady_ms

    def _sweep_some(self) -> None:
        """Bring records up to date that are idle, so that others need not work out what is over."""
        records = self._records
        cells = list(islice(self._sweep, _FIRST_SWEPT + len(records) // _FIRST_SWEPT))
        if not cells:
            # A list, because records come and go while it is walked.
            self._sweep = iter(list(records))
            return
        for cell in cells:
            record = records.get(cell)
            if record is not None:
                self._freshen(record)
                if not (self._view[record.at + REQUESTS] or self._view[record.at + TOKENS]):
                    del records[cell]

    def _now(self) -> Now:
        now = self._moment
        if now is None:
            now = self._moment = Now(self._steady_ms, self._wall_ms, self._tick, self._day, self._month)
        return now
