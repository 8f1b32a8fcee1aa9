"""``kill -9`` while a process appends."""

from __future__ import annotations

import collections
import os
import random
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import voidllm
from voidllm.core.world import RealFileSystem
from voidllm.usage.segments import pending_events

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(voidllm.__file__)))


class KilledTests(SynchronousTestCase):
    """A record is safe from the moment ``append`` returns."""

    def test_nothing_lost_nothing_twice(self) -> None:
        """Whatever the moment, every event that was told is on disk once, and at most one more."""
        state = self.mktemp()
        rng = random.Random(7)
        told: list[int] = []
        lives = 6
        for life in range(lives):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.usage.appender", state, f"b{life}", str(life * 1_000_000)],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            assert process.stdout is not None
            with process.stdout as out:
                # Moments are counted in records, not in time: the pipe is read while it runs.
                for _ in range(rng.randrange(1, 1500)):
                    told.append(int(out.readline()))
                process.kill()
                process.wait()
                told.extend(int(line) for line in out.read().split(b"\n")[:-1])
        found = collections.Counter(
            int(event.id[-12:]) for event in pending_events(RealFileSystem(), state, "box", {})
        )
        self.assertEqual(set(found.values()), {1})
        self.assertLessEqual(set(told), set(found))
        self.assertLessEqual(len(found) - len(told), lives)
