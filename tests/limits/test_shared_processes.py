"""Real processes that count in one table."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from typing import IO

from twisted.trial.unittest import SynchronousTestCase

from tests.limits.rig import hammered
from voidllm.core.errors import Refusal
from voidllm.limits.shared import SharedLimiter, SharedTable, create_table

START_MS = 1_800_000_000_000
_CAP = 6000


class HammerTests(SynchronousTestCase):
    """Three processes want the same."""

    def setUp(self) -> None:
        """Make a table, and memory in which the processes say what they got."""
        self.table_fd = create_table(4, 16)
        self.addCleanup(os.close, self.table_fd)
        self.counts_fd = os.memfd_create("counts")
        self.addCleanup(os.close, self.counts_fd)
        os.ftruncate(self.counts_fd, mmap.PAGESIZE)
        self.counts = memoryview(mmap.mmap(self.counts_fd, mmap.PAGESIZE)).cast("q")

    def _hammer(self, column: int) -> subprocess.Popen[bytes]:
        arguments = map(str, (self.table_fd, self.counts_fd, column, _CAP))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.limits.hammer", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self.table_fd, self.counts_fd),
        )
        self.addCleanup(self._end, process)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _pipe(pipe).close()

    def _answers(self, *processes: subprocess.Popen[bytes]) -> list[bytes]:
        return [_pipe(process.stdout).readline().strip() for process in processes]

    def _go(self, now_ms: int, *processes: subprocess.Popen[bytes]) -> None:
        """Let all begin at the same moment."""
        line = b"%d %f\n" % (now_ms, time.monotonic() + 0.02)
        for process in processes:
            _pipe(process.stdin).write(line)
            _pipe(process.stdin).flush()

    def test_cap(self) -> None:
        """Together they get what one would, and not one request more, minute after minute."""
        processes = [self._hammer(column) for column in (1, 2, 3)]
        self.assertEqual(self._answers(*processes), [b"ready"] * 3)
        before = 0
        for minute, share in enumerate((1, 0, 1, 1)):
            # The second time, the first minute is not over yet.
            self._go(START_MS + (0, 30_000, 61_000, 122_000)[minute], *processes)
            self._answers(*processes)
            got = sum(self.counts) - before
            before += got
            self.assertTrue(0.9 * _CAP * share <= got <= _CAP * share, f"{got} of {_CAP * share}")
        self.assertTrue(all(self.counts[column] for column in (1, 2, 3)))

    def test_killed(self) -> None:
        """One that is killed in the middle, and its successor, get together what one would."""
        processes = [self._hammer(column) for column in (1, 2, 3)]
        self.assertEqual(self._answers(*processes), [b"ready"] * 3)
        self._go(START_MS, *processes)
        while self.counts[2] < _CAP // 20 and sum(self.counts) < _CAP // 2:
            pass
        processes[1].kill()
        processes[1].wait()
        successor = self._hammer(2)
        self._answers(processes[0], processes[2], successor)
        self._go(START_MS + 500, successor)
        self._answers(successor)
        # It may have been killed between being admitted and saying so.
        self.assertTrue(0.9 * _CAP <= sum(self.counts) <= _CAP, str(list(self.counts[:4])))
        # A minute later all of it is there again, whatever word it was killed at.
        limiter, scopes = SharedLimiter(SharedTable.attach(self.table_fd), 0), hammered(_CAP)
        for _ in range(_CAP):
            limiter.reserve(scopes, 3, START_MS + 62_000)
        self.assertRaises(Refusal, limiter.reserve, scopes, 3, START_MS + 62_000)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
