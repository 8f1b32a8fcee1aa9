"""Which scope is counted where."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from voidllm.limits.shared_cells import CellBook
from voidllm.limits.windows import DAY_MS


class CellBookTests(SynchronousTestCase):
    """Cells are given, kept, and only given away after long."""

    def setUp(self) -> None:
        """Make a book of three cells."""
        self.now_ms = 20_000 * DAY_MS
        self.warnings: list[str] = []
        self.book = CellBook(lambda: self.now_ms, 3, self.warnings.append)

    def _ask(self, *ids: str) -> list[int]:
        return [self.book("key", id_) for id_ in ids]

    def test_kept(self) -> None:
        """A scope has a cell of its own, and always the same."""
        self.assertEqual(self._ask("a", "b", "a"), [0, 1, 0])
        self.assertEqual(self.book("org", "a"), 2)
        self.now_ms += 400 * DAY_MS
        self.assertEqual(self._ask("b", "a"), [1, 0])

    def test_none_left(self) -> None:
        """Without cells there is -1, one warning, and no change for those who have one."""
        self.assertEqual(self._ask("a", "b", "c", "d", "e", "a"), [0, 1, 2, -1, -1, 0])
        self.assertEqual(len(self.warnings), 1)
        self.assertEqual(len(self.book), 3)

    def test_given_away(self) -> None:
        """The cell that nobody asks for is given away, after 62 days and not before."""
        self._ask("a", "b", "c")
        for _ in range(61):
            self.now_ms += DAY_MS
            self.assertEqual(self._ask("b", "c", "d"), [1, 2, -1])
        self.now_ms += 2 * DAY_MS
        self.assertEqual(self._ask("d", "b", "c", "a"), [0, 1, 2, -1])

    def test_quiet_months(self) -> None:
        """Nobody loses a cell because nobody asked for months: the next round asks for all."""
        self._ask("a", "b", "c")
        self.now_ms += 100 * DAY_MS
        self.assertEqual(self._ask("d", "a", "b", "c"), [-1, 0, 1, 2])
