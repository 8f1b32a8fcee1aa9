"""The gate with the real journal and the real limiter, and what it may not drag in."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.gate.support import Surroundings, principal
from tests.gate.test_admit import DONE
from tests.usage.memoryfs import MemoryFileSystem, memory_world
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Scope
from voidllm.gate.gate import Gate
from voidllm.limits.ledger import MemoryLimiter
from voidllm.usage.codec import decode_lines
from voidllm.usage.journal import Journal
from voidllm.usage.settings import UsageSettings


class WholeTests(SynchronousTestCase):
    """Parts together."""

    def _gate(self, box: Surroundings, fs: MemoryFileSystem, **settings: int) -> Gate:
        world = memory_world(box.clock, fs)
        journal = Journal(world, "/state", "box", 0, "boot", UsageSettings(**settings))
        self.successResultOf(journal.start())
        self.addCleanup(journal.close)
        return Gate(world, box.snapshots, box.limiter, journal, box.digester)

    def _rows(self, fs: MemoryFileSystem) -> list[int]:
        data = b"".join(bytes(file.data) for path, file in fs.files.items() if path.endswith(".jl"))
        events, consumed, problems = decode_lines(data)
        self.assertEqual((consumed, problems), (len(data), []))
        return [event.status for event in events]

    def test_row_before_last_byte(self) -> None:
        """The row is on the disk's side when ``settle`` returns."""
        box, fs = Surroundings(), MemoryFileSystem()
        gate = self._gate(box, fs)
        gate.admit(box.who, box.ask()).settle(DONE)
        self.assertRaises(Refusal, gate.admit, box.who, box.ask("nothing"))
        self.assertEqual(self._rows(fs), [200, 404])

    def test_full_disk(self) -> None:
        """On a full disk running work keeps its rows, and new work is refused without one."""
        box, fs = Surroundings(), MemoryFileSystem()
        gate = self._gate(box, fs, reserve_bytes=0)
        running = [gate.admit(box.who, box.ask()) for _ in range(3)]
        fs.capacity = 0
        for admission in running:
            admission.settle(DONE)
        refusal = self.assertRaises(Refusal, gate.admit, box.who, box.ask())
        self.assertEqual(refusal.code, "journal_full")
        self.assertEqual(self._rows(fs), [])
        fs.capacity = None
        box.clock.advance(60)
        self.assertEqual(self._rows(fs), [200] * 3)
        gate.admit(box.who, box.ask()).settle(DONE)

    def test_restart_in_mid_day(self) -> None:
        """A new process goes on with the day's tokens from what the old one's journal holds."""
        counted = (Scope("key", "key-1", Limits(tokens_per_day=100)),)
        box, fs = Surroundings(principal(counted=counted)), MemoryFileSystem()
        gate = self._gate(box, fs)
        for _ in range(4):
            gate.admit(box.who, box.ask(tokens=20)).settle(DONE)
        data = b"".join(bytes(file.data) for path, file in fs.files.items() if path.endswith(".jl"))
        events, _, _ = decode_lines(data)
        again = MemoryLimiter()
        again.rebuild([], box.world.wall_ms(), events)
        self.assertRaises(Refusal, again.reserve, counted, 41, box.world.wall_ms())
        again.reserve(counted, 40, box.world.wall_ms())

    def test_no_twisted(self) -> None:
        """Gate and limiter do not import Twisted."""
        code = "import sys, voidllm.gate.gate, voidllm.limits.ledger; sys.exit('twisted' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)
