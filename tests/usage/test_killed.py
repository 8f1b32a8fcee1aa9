"""``kill -9`` while rows are written, and while they are committed."""

from __future__ import annotations

import collections
import os
import random
import sqlite3
import subprocess
import sys
from typing import Callable

from twisted.trial.unittest import SynchronousTestCase

import voidllm
from tests.drills.support import COUNTED_SQL
from voidllm.core.world import RealFileSystem
from voidllm.usage.segments import pending_events

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(voidllm.__file__)))


def numbers_told(args: list[str], enough: Callable[[], int]) -> list[int]:
    """Run a process, kill it after it told ``enough`` numbers, and give all that it told."""
    process = subprocess.Popen([sys.executable, "-m", *args], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout as out:
        # Moments are counted in records, not in time: the pipe is read while it runs.
        told = [int(out.readline()) for _ in range(enough())]
        process.kill()
        process.wait()
        told.extend(int(line) for line in out.read().split(b"\n")[:-1])
    return told


class KilledTests(SynchronousTestCase):
    """A record is safe from the moment ``append`` returns."""

    def test_writer(self) -> None:
        """Whatever the moment, every event that was told is on disk once, and at most one more."""
        state = self.mktemp()
        rng = random.Random(7)
        told: list[int] = []
        lives = 6
        for life in range(lives):
            args = ["tests.usage.appender", state, f"b{life}", str(life * 1_000_000)]
            told += numbers_told(args, lambda: rng.randrange(1, 1500))
        found = collections.Counter(
            int(event.id[-12:]) for event in pending_events(RealFileSystem(), state, "box", {})
        )
        self.assertEqual(set(found.values()), {1})
        self.assertLessEqual(set(told), set(found))
        self.assertLessEqual(len(found) - len(told), lives)

    def test_whole_process(self) -> None:
        """With batcher and database in the same process too: one row each, each counted once."""
        state = self.mktemp()
        rng = random.Random(11)
        told: list[int] = []
        lives = 4
        for life in range(lives):
            args = ["tests.usage.counting_gateway", state, f"b{life}", str(life * 1_000_000)]
            told += numbers_told(args, lambda: rng.randrange(1, 1500))
        subprocess.run(
            [sys.executable, "-m", "tests.usage.counting_gateway", state, "last", "drain"],
            cwd=ROOT,
            check=True,
        )
        database = sqlite3.connect(os.path.join(state, "store.db"))
        with database:
            rows = [int(row_id[-12:]) for (row_id,) in database.execute("SELECT id FROM usage_events")]
            counted = sum(row[13] for row in database.execute(COUNTED_SQL))
            progress = database.execute("SELECT * FROM journal_progress").fetchall()
        database.close()
        self.assertEqual(len(rows), len(set(rows)))
        self.assertLessEqual(set(told), set(rows))
        self.assertLessEqual(len(rows) - len(told), lives)
        self.assertEqual(counted, len(rows))
        self.assertEqual(progress, [])
        self.assertEqual(os.listdir(os.path.join(state, "journal")), ["box-0.reserve"])
