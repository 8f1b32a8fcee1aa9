"""Where workers count together: a table in shared memory, and what its words mean.

A table has one record for each cell (a scope with limits) and column (a process). Only the
process that owns a column writes its records; everybody reads all. Every word is an aligned
signed 64-bit integer, read and written in one machine instruction::

    page(s)   header: magic, layout version, columns, cells; then the clock of each column
    cells     summaries of all columns side by side, two cache lines each, then their buckets

Words are written one at a time through the view. Never with ``struct.pack_into``, which fills
its target with zeros first: another process would see them, and admit too much.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from typing import Any, Callable

from voidllm.core.errors import VoidLLMError

MAX_COLUMNS = 128
MAX_CELLS = 1 << 22
CELLS = 262_144

#: Words of a summary. ``SEQ`` is odd while what follows is moved to a later second or period;
#: plain counting leaves it alone. Two days are kept: three words each; two months: two words each.
SEQ, TICK, REQUESTS, TOKENS, LAST, DAYS, MONTHS = 0, 1, 2, 3, 4, 5, 11
DAY_WORDS, MONTH_WORDS = 3, 2
WORD = 8
REQUESTS_BYTE, TOKENS_BYTE, LAST_BYTE = WORD * REQUESTS, WORD * TOKENS, WORD * LAST
SUMMARY_WORDS = 16
#: Buckets of one second: requests and tokens side by side.
BUCKET_WORDS = 128
#: The period of a calendar slot that is being replaced.
BUSY = 1 << 62

_MAGIC = int.from_bytes(b"vl-limit", "little")
_VERSION = 1
_PAGE_WORDS = 512
_CLOCKS = 8
_CLOCK_WORDS = 8
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_STRONG = ("x86_64", "i686", "AMD64")


class BadTable(VoidLLMError):
    """The memory is not a table of this layout and size."""


def create_table(columns: int, cells: int = CELLS) -> int:
    """Make a table that nobody has counted in.

    It is as large as it may ever get, but sparse: a cell takes memory (about 1.2 KB for each column)
    once anybody counts in it, and keeps it.

    :param columns: one for each worker, and one for the process that seeds it.
    :param cells: how many scopes with limits there can be; what is beyond is refused, see
        :class:`~voidllm.limits.shared.SharedLimiter`.
    :returns: a file descriptor that the caller closes. It is closed in children unless it is
        handed to them on purpose, and cannot change its size.
    :raises ValueError: for an impossible size.
    :raises OSError: if there is no memory.
    """
    if not (1 <= columns <= MAX_COLUMNS and 1 <= cells <= MAX_CELLS):
        raise ValueError("a table of limits cannot have that size")
    fd = os.memfd_create("voidllm-limits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size = table_words(columns, cells) * WORD
        os.ftruncate(fd, size)
        with mmap.mmap(fd, mmap.PAGESIZE) as head:
            struct.pack_into("4q", head, 0, _MAGIC, _VERSION, columns, cells)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def blank_table(columns: int, cells: int) -> memoryview[int]:
    """Give the memory of a table that no other process has, as tests and simulations want it."""
    view = memoryview(bytearray(table_words(columns, cells) * WORD)).cast("q")
    view[0], view[1], view[2], view[3] = _MAGIC, _VERSION, columns, cells
    return view


def table_words(columns: int, cells: int) -> int:
    """Say how many words a table of that size has."""
    return _head_words(columns) + cells * columns * (SUMMARY_WORDS + BUCKET_WORDS)


def _head_words(columns: int) -> int:
    words = _CLOCKS + columns * _CLOCK_WORDS
    return -(-words // _PAGE_WORDS) * _PAGE_WORDS


class SharedTable:
    """Finds the words of a table.

    :param view: the whole table, ``memoryview.cast("q")``.
    :param columns: how many the caller expects.
    :ivar view: what is written through, one word at a time.
    :ivar data: the same memory, for :meth:`struct.Struct.unpack_from`.
    :ivar gather: reads the same word of every column's summary: ``gather(data, byte)``.
    :raises BadTable: if the header says otherwise.
    """

    __slots__ = ("_cells_at", "_clocks", "_memory", "_stride", "cells", "columns", "data", "gather", "view")

    def __init__(self, view: memoryview[int], columns: int) -> None:
        if len(view) < _PAGE_WORDS or view[0] != _MAGIC:
            raise BadTable("the memory is not a table of limits")
        if view[1] != _VERSION:
            raise BadTable("the table of limits has another version's layout")
        self.columns: int = view[2]
        self.cells: int = view[3]
        if self.columns != columns:
            raise BadTable("the table of limits has another number of columns")
        if len(view) != table_words(columns, self.cells):
            raise BadTable("the table of limits does not have the size that it says")
        self.view = view
        self.data = view
        self._memory: mmap.mmap | None = None
        self._stride = columns * (SUMMARY_WORDS + BUCKET_WORDS)
        self._cells_at = _head_words(columns)
        gap = f"{(SUMMARY_WORDS - 1) * WORD}x"
        self.gather: Callable[[Any, int], tuple[int, ...]] = struct.Struct(
            gap.join("q" * columns)
        ).unpack_from
        gap = f"{(_CLOCK_WORDS - 1) * WORD}x"
        self._clocks: Callable[[Any, int], tuple[int, ...]] = struct.Struct(
            gap.join("q" * columns)
        ).unpack_from

    @classmethod
    def attach(cls, fd: int) -> SharedTable:
        """Map the table behind ``fd``, which may be closed afterwards.

        :raises BadTable: if it is none of this layout.
        """
        size = os.fstat(fd).st_size
        if size < _PAGE_WORDS * WORD or size % WORD:
            raise BadTable("the memory is not a table of limits")
        memory = mmap.mmap(fd, size)
        view = memoryview(memory).cast("q")
        table = cls(view, view[2])
        table._memory = memory
        return table

    def summary(self, cell: int, column: int) -> int:
        """Give the number of the first word of a summary."""
        return self._cells_at + cell * self._stride + column * SUMMARY_WORDS

    def buckets(self, cell: int, column: int) -> int:
        """Give the number of the first word of a record's buckets."""
        first = self._cells_at + cell * self._stride + self.columns * SUMMARY_WORDS
        return first + column * BUCKET_WORDS

    def latest_steady_ms(self) -> int:
        """Give the latest moment at which anybody counted, on the common clock."""
        return max(self._clocks(self.data, _CLOCKS * WORD))

    def offset_ms(self) -> int:
        """Say how far the common clock is ahead of the wall clock, which was set back."""
        return max(self._clocks(self.data, (_CLOCKS + 1) * WORD))

    def publish_clock(self, column: int, steady_ms: int, offset_ms: int) -> None:
        """Tell the other processes how one's own clock stands."""
        at = _CLOCKS + column * _CLOCK_WORDS
        self.view[at] = steady_ms
        self.view[at + 1] = offset_ms


def make_fence(machine: str = "") -> Callable[[], None]:
    """Give a function that is a full memory barrier.

    Two workers that each add and then read need one in between, on every machine: a processor may
    read before its own write has left the store buffer, so both would miss what the other added
    and both would admit. Python has no barrier, but a lock is made of atomic instructions. On x86
    any of them is a full barrier. On 64-bit ARM, taking one is only an acquire and giving it back
    only a release, which lets a later read pass an earlier write; but a release followed by an
    acquire stays in order, so giving back and taking *again* puts the write before the read.

    That is all that admission needs. Moving a record to a later second has fences of its own. What
    has none is giving tokens back: on ARM a reader may, for a moment, miss those tokens twice.

    :param machine: as ``os.uname().machine``.
    """
    lock = threading.Lock()
    take, give = lock.acquire, lock.release

    def once() -> None:
        take()
        give()

    def twice() -> None:
        take()
        give()
        take()
        give()

    return once if (machine or os.uname().machine) in _STRONG else twice
