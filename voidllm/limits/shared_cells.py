"""Which scope is counted in which cell of a shared table."""

from __future__ import annotations

import logging
from typing import Callable

from voidllm.limits.recount import Key
from voidllm.limits.shared_table import CELLS
from voidllm.limits.windows import DAY_MS

#: Longer than any month: whatever a cell counted limits nobody any more.
_REST_MS = 62 * DAY_MS
_PAUSE_MS = 60_000

_warn = logging.getLogger(__name__).error


class CellBook:
    """Gives every scope a cell for as long as it is asked for, and for 62 days from then on.

    Cells that nobody had come first. When there are none left, those are given away that were
    not asked for in the last 62 days, nor in the last two rounds of questions (whoever builds
    snapshots asks for all scopes each time, but may have no reason to for months). So no cell
    ever changes hands while a window, or a reservation, still holds what its scope has used.

    Memory: at most ``cells`` entries. It lives as long as the table, and starts empty with it.

    :param wall_ms: gives Unix milliseconds.
    :param cells: how many the table has.
    :param warn: told once when there are no cells left.
    """

    def __init__(
        self, wall_ms: Callable[[], int], cells: int = CELLS, warn: Callable[[str], None] = _warn
    ) -> None:
        self._wall_ms = wall_ms
        self._size = cells
        self._warn = warn
        self._warned = False
        # (cell, asked for at); those asked for latest come last.
        self._cells: dict[Key, tuple[int, int]] = {}
        self._asked_ms = 0
        # When the last three rounds began, the latest last.
        self._rounds = (0, 0, 0)

    def __len__(self) -> int:
        return len(self._cells)

    def __call__(self, kind: str, id_: str) -> int:
        """Give the cell of a scope.

        :returns: -1 if there is none left; work that such a scope limits is refused.
        """
        now_ms = self._wall_ms()
        if now_ms - self._asked_ms > _PAUSE_MS or now_ms - self._rounds[2] > DAY_MS:
            self._rounds = (*self._rounds[1:], now_ms)
        self._asked_ms = now_ms
        known = self._cells.pop((kind, id_), None)
        if known is not None:
            cell = known[0]
        elif len(self._cells) < self._size:
            cell = len(self._cells)
        else:
            cell = self._oldest(now_ms)
            if cell < 0:
                return -1
        self._cells[kind, id_] = (cell, now_ms)
        return cell

    def _oldest(self, now_ms: int) -> int:
        oldest, (cell, asked_ms) = next(iter(self._cells.items()))
        if asked_ms < min(now_ms - _REST_MS, self._rounds[0]):
            del self._cells[oldest]
            return cell
        if not self._warned:
            self._warned = True
            self._warn(
                f"more than {self._size} scopes have limits, and no more can be counted: "
                "work of the scopes beyond is refused"
            )
        return -1
