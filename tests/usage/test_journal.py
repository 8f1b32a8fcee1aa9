"""The journal on a disk in memory that can be filled, and on the real one."""

from __future__ import annotations

import errno
import os
import random
import stat
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.usage.events import event
from tests.usage.memoryfs import MemoryFileSystem, memory_world
from voidllm.core.errors import JournalFull
from voidllm.core.interfaces import IJournal
from voidllm.core.usage import UsageEvent
from voidllm.core.world import World
from voidllm.http.polling import Outbox
from voidllm.usage.codec import decode_lines, encode
from voidllm.usage.journal import Journal
from voidllm.usage.segments import parse, pending_events
from voidllm.usage.settings import UsageSettings

LINE = len(encode(event()))
MB = 1024 * 1024


class JournalCase(SynchronousTestCase):
    """A journal in a world of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fs = MemoryFileSystem()
        self.sealed: list[str] = []

    def journal(self, boot: str = "b1", **settings: object) -> Journal:
        """Start a journal; sizes in the given settings."""
        values: dict[str, object] = {"reserve_bytes": 0, **settings}
        made = Journal(
            memory_world(self.clock, self.fs),
            "/state",
            "box",
            0,
            boot,
            UsageSettings(**values),  # type: ignore[arg-type]
        )
        made.on_sealed.append(self.sealed.append)
        self.successResultOf(made.start())
        return made

    def segments(self) -> dict[str, bytes]:
        """Give name and bytes of each segment."""
        return {
            os.path.basename(path): bytes(file.data)
            for path, file in sorted(self.fs.files.items())
            if path.endswith(".jl")
        }

    def written(self) -> list[UsageEvent]:
        """Give the events on disk."""
        return list(pending_events(self.fs, "/state", "box", {}))


class AppendTests(JournalCase):
    """A record is in the kernel when append returns."""

    def test_interface(self) -> None:
        """The journal is what the gate expects."""
        self.assertTrue(verifyObject(IJournal, self.journal()))

    def test_one_write_each(self) -> None:
        """Each record is one line, written before append returns."""
        journal = self.journal()
        for number in range(3):
            journal.append(event(number))
            self.assertEqual(self.written(), [event(n) for n in range(number + 1)])
        self.assertEqual(list(self.segments()), ["box-0-b1-00000001.jl"])

    def test_rotation_by_size(self) -> None:
        """A segment that has grown to its size is complete, and the next one begins."""
        journal = self.journal(segment_bytes=2 * LINE)
        for number in range(5):
            journal.append(event(number))
        self.assertEqual([len(data) // LINE for data in self.segments().values()], [2, 2, 1])
        self.assertEqual(self.sealed, list(self.segments())[:2])

    def test_rotation_by_time(self) -> None:
        """A segment is complete 5 seconds after its first record; an idle journal has no timer."""
        journal = self.journal()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        journal.append(event(1))
        self.clock.advance(4.9)
        journal.append(event(2))
        self.assertEqual(self.sealed, [])
        self.clock.advance(0.2)
        self.assertEqual(self.sealed, ["box-0-b1-00000001.jl"])
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))

    def test_close(self) -> None:
        """Closing completes and syncs the last segment and leaves no timer and no descriptor."""
        journal = self.journal(reserve_bytes=MB)
        journal.append(event(1))
        self.successResultOf(journal.close())
        self.successResultOf(journal.close())
        self.assertTrue(journal.closed)
        self.assertEqual(self.sealed, ["box-0-b1-00000001.jl"])
        self.assertEqual(self.fs.files["/state/journal/box-0-b1-00000001.jl"].synced, LINE)
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))

    def test_late_row(self) -> None:
        """A row that comes after closing is written all the same, in a segment of its own."""
        journal = self.journal()
        self.successResultOf(journal.close())
        journal.append(event(1))
        self.assertEqual(self.written(), [event(1)])
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))

    def test_listener_fails(self) -> None:
        """A listener's failure is logged and is not the business of whoever appends."""
        journal = self.journal(segment_bytes=1)
        journal.on_sealed.insert(0, lambda name: 1 / 0)  # type: ignore[func-returns-value,arg-type,return-value]
        journal.append(event(1))
        self.assertEqual(len(self.sealed), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_names(self) -> None:
        """A box may hold dashes; a name that would break the file name is refused."""
        found = parse("my-box-12-b1-00000009.jl")
        assert found is not None
        self.assertEqual((found.box, found.writer, found.seq), ("my-box", (12, "b1"), 9))
        self.assertEqual(found.name, "my-box-12-b1-00000009.jl")
        self.assertIsNone(parse("rejected.jl"))
        with self.assertRaises(ValueError):
            self.journal(boot="a-b")


class TurnTests(JournalCase):
    """On a reactor whose turns have an end, the rows of a turn are written together."""

    def setUp(self) -> None:
        super().setUp()
        self.outbox = Outbox()
        setattr(self.clock, "voidllm_outbox", self.outbox)  # noqa: B010 - not a known attribute
        self.writes = 0

        def count(operation: str, path: str) -> None:
            self.writes += operation == "write"

        self.fs.fail = count

    def test_one_write_a_turn(self) -> None:
        """All rows of a turn are one write, in their order, before what was sent after them."""
        journal = self.journal()
        for turn in range(3):
            seen: list[int] = []
            reply = SimpleNamespace(flush=lambda seen=seen: seen.append(len(self.written())))
            self.outbox.add(reply)
            for number in range(4):
                journal.append(event(4 * turn + number))
            self.outbox.flush()
            self.assertEqual((seen, self.writes), ([4 * turn + 4], turn + 1))
        self.assertEqual(self.written(), [event(n) for n in range(12)])

    def test_some_fit(self) -> None:
        """Where there is not room for all rows of a turn, the last ones wait, and no work is admitted."""
        self.fs.capacity = LINE * 5 // 2
        journal = self.journal()
        for number in range(4):
            journal.append(event(number))
        self.outbox.flush()
        self.assertEqual((self.written(), journal.waiting), ([event(0), event(1)], 2))
        self.assertFalse(journal.accepting())
        with self.assertRaises(JournalFull):
            journal.append(event(4))
        self.fs.capacity = None
        self.clock.advance(1)
        self.assertEqual(self.written(), [event(n) for n in range(5)])
        self.assertTrue(journal.accepting())
        journal.append(event(5))
        self.outbox.flush()
        self.assertEqual(self.written(), [event(n) for n in range(6)])

    def test_reserve(self) -> None:
        """A turn that meets a full disk is written with the reserve's help."""
        self.fs.capacity = MB + LINE
        journal = self.journal(reserve_bytes=MB)
        for number in range(50):
            journal.append(event(number))
        self.outbox.flush()
        self.assertEqual((self.written(), journal.waiting), ([event(n) for n in range(50)], 0))
        self.assertTrue(journal.accepting())

    def test_short_write(self) -> None:
        """A turn that is written in part only leaves whole rows, each once."""
        self.fs.short = True
        self.fs.capacity = LINE * 5 // 2
        journal = self.journal()
        for number in range(4):
            journal.append(event(number))
        self.outbox.flush()
        self.assertEqual([len(data) for data in self.segments().values()], [2 * LINE])
        self.fs.capacity = None
        self.clock.advance(1)
        self.assertEqual(self.written(), [event(n) for n in range(4)])

    def test_broken_file(self) -> None:
        """A file that fails is left; the rows of the turn wait and go to a new one."""
        journal = self.journal()
        journal.append(event(0))
        self.outbox.flush()
        broken = [True]

        def fail(operation: str, path: str) -> None:
            if operation == "write" and broken:
                broken.clear()
                raise OSError(errno.EIO, "broken")

        self.fs.fail = fail
        journal.append(event(1))
        journal.append(event(2))
        self.outbox.flush()
        self.assertEqual((journal.waiting, journal.accepting()), (2, False))
        self.clock.advance(1)
        self.assertEqual([len(data) for data in self.segments().values()], [LINE, 2 * LINE])
        self.assertTrue(journal.accepting())

    def test_ends(self) -> None:
        """Completing the segment and closing write what waits for the end of the turn."""
        journal = self.journal()
        journal.append(event(0))
        journal.rotate()
        self.assertEqual((self.written(), len(self.sealed)), ([event(0)], 1))
        journal.append(event(1))
        self.successResultOf(journal.close())
        journal.append(event(2))
        self.assertEqual(self.written(), [event(n) for n in range(3)])
        self.outbox.flush()
        self.assertEqual(self.written(), [event(n) for n in range(3)])
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))


class FullDiskTests(JournalCase):
    """A full disk refuses new work before it costs a row."""

    def test_reserve_then_refusal(self) -> None:
        """The reserve is used slice by slice; before its last slice new work is refused."""
        self.fs.capacity = MB + 10 * LINE
        journal = self.journal(reserve_bytes=MB)
        self.assertTrue(journal.accepting())
        number = 0
        while journal.accepting():
            journal.append(event(number))
            number += 1
        self.assertGreater(number * LINE, MB * 13 // 16)
        for _ in range(50):
            journal.append(event(number))
            number += 1
        self.assertEqual(self.written(), [event(n) for n in range(number)])

    def test_short_writes(self) -> None:
        """A record that is written in part only is taken back and written whole."""
        self.fs.short = True
        self.fs.capacity = MB + LINE * 3 // 2
        journal = self.journal(reserve_bytes=MB)
        for number in range(20):
            journal.append(event(number))
        data = b"".join(self.segments().values())
        self.assertEqual(decode_lines(data), ([event(n) for n in range(20)], len(data), []))

    def test_truncation_fails(self) -> None:
        """If the part cannot be taken back, the segment ends there and the row goes to a new one."""

        def fail(operation: str, path: str) -> None:
            if operation == "ftruncate" and path.endswith(".jl"):
                raise OSError(errno.EIO, "broken")

        self.fs.short = True
        self.fs.capacity = MB + LINE * 3 // 2
        self.fs.fail = fail
        journal = self.journal(reserve_bytes=MB)
        journal.append(event(1))
        journal.append(event(2))
        self.assertEqual([len(data) for data in self.segments().values()], [LINE * 3 // 2, LINE])
        self.assertEqual(self.written(), [event(1), event(2)])

    def test_no_room_at_all(self) -> None:
        """A row with no room waits in memory, in order, and is written when there is room."""
        self.fs.capacity = LINE
        journal = self.journal()
        journal.append(event(1))
        for number in (2, 3):
            with self.assertRaises(JournalFull):
                journal.append(event(number))
        self.assertFalse(journal.accepting())
        self.assertEqual(journal.waiting, 2)
        self.clock.advance(1)
        self.assertFalse(journal.accepting())
        self.fs.capacity = 10 * LINE
        self.clock.advance(1)
        self.assertTrue(journal.accepting())
        journal.append(event(4))
        self.assertEqual(self.written(), [event(n) for n in (1, 2, 3, 4)])

    def test_append_brings_the_waiting(self) -> None:
        """An append that finds room writes what waited first."""
        self.fs.capacity = LINE
        journal = self.journal()
        journal.append(event(1))
        with self.assertRaises(JournalFull):
            journal.append(event(2))
        self.fs.capacity = 10 * LINE
        journal.append(event(3))
        self.assertEqual(self.written(), [event(n) for n in (1, 2, 3)])
        self.assertTrue(journal.accepting())

    def test_reserve_comes_back(self) -> None:
        """When there is room again the reserve is made again, and then no timer is left."""
        self.fs.capacity = MB
        journal = self.journal(reserve_bytes=MB)
        number = 0
        while journal.accepting():
            journal.append(event(number))
            number += 1
        self.fs.capacity = 4 * MB
        self.clock.advance(1)
        self.assertTrue(journal.accepting())
        self.assertEqual(self.fs.files["/state/journal/box-0.reserve"].size, MB)
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_at_start(self) -> None:
        """With no room for the reserve at start, no work is admitted until there is some."""
        self.fs.capacity = MB // 20
        journal = self.journal(reserve_bytes=MB)
        self.assertFalse(journal.accepting())
        self.fs.capacity = 2 * MB
        self.clock.advance(1)
        self.assertTrue(journal.accepting())

    def test_inherited_reserve(self) -> None:
        """A successor takes over its predecessor's reserve."""
        self.fs.capacity = MB + LINE
        self.successResultOf(self.journal("b1", reserve_bytes=MB).close())
        self.assertTrue(self.journal("b2", reserve_bytes=MB).accepting())

    def test_broken_file(self) -> None:
        """A file that fails is left, and the row goes to a new one."""
        journal = self.journal()
        journal.append(event(1))
        broken = [True]

        def fail(operation: str, path: str) -> None:
            if operation == "write" and broken:
                broken.clear()
                raise OSError(errno.EIO, "broken")

        self.fs.fail = fail
        with self.assertRaises(JournalFull):
            journal.append(event(2))
        self.clock.advance(1)
        self.assertEqual([len(d) for d in self.segments().values()], [LINE, LINE])
        self.assertTrue(journal.accepting())

    def test_memory_has_an_end(self) -> None:
        """What waits in memory is bounded, and what has no room there is counted."""
        self.fs.capacity = 0
        journal = self.journal(memory_bytes=2 * LINE)
        for number in range(5):
            with self.assertRaises(JournalFull):
                journal.append(event(number))
        self.assertEqual((journal.waiting, journal.dropped), (2, 3))

    def test_close_tells_what_is_left(self) -> None:
        """Closing a journal with rows in memory tries once more and leaves no timer."""
        self.fs.capacity = 0
        journal = self.journal()
        with self.assertRaises(JournalFull):
            journal.append(event(1))
        self.fs.capacity = LINE
        self.successResultOf(journal.close())
        self.assertEqual(self.written(), [event(1)])
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))

    def test_any_history(self) -> None:
        """Whatever the disk does, every row is on it when it has become well again.

        It is there once, unless a piece of several rows could not be taken back: the store drops repeats.
        """
        for seed in range(30):
            self.setUp()
            kept: list[str] = []
            rng = random.Random(seed)
            outbox = Outbox()
            if seed % 2:
                setattr(self.clock, "voidllm_outbox", outbox)  # noqa: B010 - not a known attribute

            def trouble(operation: str, path: str, rng: random.Random = rng, kept: list[str] = kept) -> None:
                if operation in ("write", "ftruncate", "open", "fsync") and rng.random() < 0.1:
                    if operation == "ftruncate":
                        kept.append(path)
                    raise OSError(rng.choice((errno.ENOSPC, errno.EIO, errno.EDQUOT)), "trouble")

            reserve = rng.choice((0, 20 * LINE))
            journal = self.journal(
                reserve_bytes=reserve, segment_bytes=5 * LINE, fsync=rng.choice(("off", "interval"))
            )
            self.fs.short = True
            self.fs.fail = trouble
            for number in range(60):
                self.fs.capacity = rng.choice((1 << 30, self.fs.capacity or 0, rng.randrange(60 * LINE)))
                try:
                    journal.append(event(number))
                except JournalFull:
                    self.assertFalse(journal.accepting())
                if rng.random() < 0.5:
                    outbox.flush()
                    self.clock.advance(rng.random() * 2)
            outbox.flush()
            self.fs.capacity, self.fs.fail = None, lambda operation, path: None
            self.clock.pump([1] * 3)
            self.assertTrue(journal.accepting())
            self.successResultOf(journal.close())
            found = sorted(e.id for e in self.written())
            self.assertEqual(sorted(set(found)) if kept else found, [event(n).id for n in range(60)])
            self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))
            self.flushLoggedErrors(OSError)


class SyncTests(JournalCase):
    """``usage.fsync: interval``."""

    def test_interval(self) -> None:
        """Records are synced an interval after the first unsynced one; no timer when idle."""
        journal = self.journal(fsync="interval")
        journal.append(event(1))
        file = self.fs.files["/state/journal/box-0-b1-00000001.jl"]
        self.assertEqual(file.synced, 0)
        self.clock.advance(1)
        self.assertEqual(file.synced, LINE)
        journal.append(event(2))
        self.clock.advance(1)
        self.assertEqual(file.synced, 2 * LINE)
        self.clock.advance(4)
        self.assertEqual((self.clock.getDelayedCalls(), self.fs.descriptors), ([], {}))

    def test_rotation_syncs(self) -> None:
        """A complete segment is synced before its file is closed."""
        journal = self.journal(fsync="interval", segment_bytes=LINE)
        journal.append(event(1))
        self.assertEqual(self.fs.files["/state/journal/box-0-b1-00000001.jl"].synced, LINE)
        self.assertEqual(self.fs.descriptors, {})

    def test_failure(self) -> None:
        """A failed fsync is logged, and the journal goes on."""

        def fail(operation: str, path: str) -> None:
            if operation == "fsync":
                raise OSError(errno.EIO, "broken")

        journal = self.journal(fsync="interval")
        self.fs.fail = fail
        journal.append(event(1))
        self.clock.advance(1)
        journal.append(event(2))
        self.clock.advance(10)
        self.assertGreaterEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.assertEqual(self.written(), [event(1), event(2)])


class RealDiskTests(TestCase):
    """The same on a real disk with real threads."""

    async def test_files(self) -> None:
        """Files are private, the reserve takes real blocks, and every record is there."""
        from twisted.internet import reactor

        state = self.mktemp()
        world = World(reactor=reactor, in_thread=deferToThread)
        settings = UsageSettings(reserve_bytes=MB, segment_bytes=20 * LINE, fsync="interval")
        journal = Journal(world, state, "box", 0, "b1", settings)
        await journal.start()
        for number in range(100):
            journal.append(event(number))
        await journal.close()
        self.assertEqual(list(pending_events(world.fs, state, "box", {})), [event(n) for n in range(100)])
        folder = os.path.join(state, "journal")
        self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
        for name in os.listdir(folder):
            found = os.stat(os.path.join(folder, name))
            self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
            if name.endswith(".reserve"):
                self.assertGreaterEqual(found.st_blocks * 512, MB)
