"""The table that processes share."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from voidllm.limits.shared_table import (
    BadTable,
    SharedTable,
    blank_table,
    create_table,
    make_fence,
)


class TableTests(SynchronousTestCase):
    """Made once, attached by all."""

    def _create(self, columns: int = 2, cells: int = 4) -> int:
        fd = create_table(columns, cells)
        self.addCleanup(os.close, fd)
        return fd

    def test_attach(self) -> None:
        """Who attaches it sees what others write, also when the descriptor is closed."""
        fd = create_table(3, 5)
        one, other = SharedTable.attach(fd), SharedTable.attach(fd)
        os.close(fd)
        self.assertEqual((one.columns, one.cells), (3, 5))
        one.view[one.summary(4, 2)] = 7
        self.assertEqual(other.view[other.summary(4, 2)], 7)

    def test_sparse(self) -> None:
        """A large table takes no memory before somebody counts in it."""
        stat = os.fstat(self._create(9, 262_144))
        self.assertTrue(stat.st_size > 2 * 10**9)
        self.assertTrue(stat.st_blocks * 512 <= 1 << 16)

    def test_sealed(self) -> None:
        """Nobody can change its size, so nobody can be killed by a read of what is gone."""
        fd = self._create()
        self.assertRaises(PermissionError, os.ftruncate, fd, 0)
        self.assertRaises(PermissionError, os.ftruncate, fd, 1 << 24)
        self.assertFalse(os.get_inheritable(fd))

    def test_records_are_apart(self) -> None:
        """No word belongs to two records, and the last one is the table's last."""
        table = SharedTable(blank_table(3, 5), 3)
        firsts = [
            (at, size)
            for cell in range(5)
            for column in range(3)
            for at, size in ((table.summary(cell, column), 16), (table.buckets(cell, column), 128))
        ]
        end = 512
        for at, size in sorted(firsts):
            self.assertEqual(at, end)
            end = at + size
        self.assertEqual(end, len(table.view))

    def test_other_memory(self) -> None:
        """What is no table, or another one than expected, is not counted in."""
        fd = os.memfd_create("other")
        self.addCleanup(os.close, fd)
        for size in (0, 100, 4096):
            os.ftruncate(fd, size)
            self.assertRaises(BadTable, SharedTable.attach, fd)
        self.assertRaises(BadTable, SharedTable, blank_table(2, 4), 3)
        self.assertRaises(BadTable, SharedTable, blank_table(2, 4)[:-1], 2)
        for word, wrong in ((0, 1), (1, 99), (3, 5)):
            view = blank_table(2, 4)
            view[word] = wrong
            self.assertRaises(BadTable, SharedTable, view, 2)

    def test_sizes(self) -> None:
        """Impossible sizes are refused."""
        for columns, cells in ((0, 1), (1, 0), (1000, 1), (1, 1 << 40)):
            self.assertRaises(ValueError, create_table, columns, cells)

    def test_gather(self) -> None:
        """The same word of all columns is read at once, in the machine's byte order."""
        table = SharedTable(blank_table(3, 2), 3)
        for column in range(3):
            table.view[table.summary(1, column) + 4] = -column
        self.assertEqual(table.gather(table.data, 8 * (table.summary(1, 0) + 4)), (0, -1, -2))

    def test_fence(self) -> None:
        """There is a fence for every machine, and it can be used again and again."""
        for machine in ("x86_64", "aarch64", ""):
            fence = make_fence(machine)
            fence()
            fence()
