"""The batcher against a store in memory that fails as told."""

from __future__ import annotations

import errno
import itertools
import os
import random
from typing import Any, Sequence

import google_crc32c
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.usage.events import event
from tests.usage.memoryfs import MemoryFileSystem, memory_world
from tests.usage.memorystore import MemoryStore
from voidllm.core.errors import StoreBusy, StoreRejected, StoreTimeout, StoreUnavailable
from voidllm.core.usage import UsageEvent
from voidllm.usage.batcher import UsageBatcher, UsageCounters
from voidllm.usage.codec import decode_lines, encode, seal
from voidllm.usage.journal import Journal
from voidllm.usage.segments import pending_events
from voidllm.usage.settings import UsageSettings

LINE = len(encode(event()))
PATH = "/state/journal"


class BatcherCase(SynchronousTestCase):
    """One box: a journal, a batcher, and a store that both outlive them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fs = MemoryFileSystem()
        self.store = MemoryStore()
        self.live: set[tuple[int, str]] = set()

    def journal(self, boot: str = "b1", worker: int = 0, **settings: Any) -> Journal:
        """Start a writer."""
        values = UsageSettings(**{"reserve_bytes": 0, "segment_bytes": 10 * LINE, **settings})
        made = Journal(memory_world(self.clock, self.fs), "/state", "box", worker, boot, values)
        self.successResultOf(made.start())
        self.live.add(made.writer)
        return made

    def batcher(self, box: str = "box", **settings: Any) -> UsageBatcher:
        """Make a batcher."""
        return UsageBatcher(
            memory_world(self.clock, self.fs),
            self.store,
            "/state",
            box,
            UsageSettings(**settings),
            UsageCounters(),
            live_writers=lambda: self.live,
        )

    def put(self, name: str, data: bytes) -> None:
        """Place a segment file."""
        self.fs.makedirs(PATH)
        fd = self.fs.open(f"{PATH}/{name}", os.O_WRONLY | os.O_CREAT)
        self.fs.write(fd, data)
        self.fs.close(fd)

    def names(self) -> list[str]:
        """Give the names of files in the journal's folder."""
        return sorted(self.fs.listdir(PATH))

    def assertStored(self, numbers: Sequence[int]) -> None:
        """Check that exactly these events are rows, each counted once."""
        self.assertEqual(sorted(self.store.rows), sorted(event(n).id for n in numbers))
        self.assertEqual(self.store.requests, len(numbers))
        self.assertEqual(self.store.tokens, 15 * len(numbers))


class CommitTests(BatcherCase):
    """Rows get to the store."""

    def test_live_segments(self) -> None:
        """Rows of a live segment are committed every flush interval; the segment stays."""
        journal, batcher = self.journal(), self.batcher()
        batcher.startService()
        journal.append(event(1))
        self.assertStored([])
        self.clock.advance(5)
        self.assertStored([1])
        self.assertEqual(len(self.names()), 1)
        self.assertEqual(batcher.counters, UsageCounters(rows=1))

    def test_sealed(self) -> None:
        """A complete segment is committed at once and deleted, and its progress forgotten."""
        journal, batcher = self.journal(), self.batcher()
        journal.on_sealed.append(batcher.segment_sealed)
        batcher.startService()
        for number in range(10):
            journal.append(event(number))
        self.assertStored(range(10))
        self.assertEqual((self.names(), self.store.progress), ([], {}))

    def test_sealed_elsewhere(self) -> None:
        """A segment of another process is complete when it has a successor."""
        journal, batcher = self.journal(worker=3), self.batcher()
        for number in range(12):
            journal.append(event(number))
        batcher.startService()
        self.assertStored(range(12))
        self.assertEqual(self.names(), ["box-3-b1-00000002.jl"])

    def test_dead_writers(self) -> None:
        """What earlier lives left is committed at start and deleted; a torn tail is told."""
        self.put("box-0-old-00000001.jl", encode(event(1)) + encode(event(2)))
        self.put("box-1-old-00000007.jl", encode(event(3)) + encode(event(4))[:50])
        self.put("box-1-older-00000001.jl", b"")
        batcher = self.batcher()
        batcher.startService()
        self.assertStored([1, 2, 3])
        self.assertEqual((self.names(), self.store.progress), ([], {}))
        self.assertEqual(batcher.counters.damaged, 1)

    def test_no_folder(self) -> None:
        """A folder that is not there yet holds no rows."""
        batcher = self.batcher()
        batcher.startService()
        self.successResultOf(batcher.flush())

    def test_other_boxes(self) -> None:
        """Segments of another box are left alone."""
        self.put("box-2-0-old-00000001.jl", encode(event(1)))
        self.put("other-0-old-00000001.jl", encode(event(2)))
        self.store.progress["other-0-gone-00000001.jl"] = 7
        batcher = self.batcher()
        batcher.startService()
        self.assertStored([])
        self.assertEqual(len(self.names()), 2)
        self.assertEqual(len(self.store.progress), 1)

    def test_batches(self) -> None:
        """A batch has at most 500 rows, and reading goes on where the last batch ended."""
        self.put("box-0-old-00000001.jl", b"".join(encode(event(n)) for n in range(1201)))
        self.batcher().startService()
        self.assertStored(range(1201))
        self.assertEqual(self.store.batches, [500, 500, 201])

    def test_flush(self) -> None:
        """Flush fires when what was appended before it is committed, not before."""
        journal, batcher = self.journal(), self.batcher()
        batcher.startService()
        journal.append(event(1))
        self.store.hold = []
        first = batcher.flush()
        self.assertNoResult(first)
        journal.append(event(2))
        second = batcher.flush()
        self.store.hold.pop().callback(None)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.store.hold.pop().callback(None)
        self.successResultOf(second)
        self.assertStored([1, 2])

    def test_pending(self) -> None:
        """Events that the store has not got yet can be gone through, and only those."""
        journal = self.journal()
        for number in range(15):
            journal.append(event(number))
        progress = {"box-0-b1-00000001.jl": 3 * LINE, "box-0-b1-00000002.jl": 5 * LINE}
        pending = list(pending_events(self.fs, "/state", "box", progress))
        self.assertEqual(pending, [event(n) for n in range(3, 10)])


class FaultTests(BatcherCase):
    """The store, the files or the process fail."""

    def test_store_away(self) -> None:
        """While the store is away it is asked again, at most 15 s apart, for hours; nothing is lost."""
        journal, batcher = self.journal(), self.batcher()
        tries: list[float] = []

        def away(operation: str, events: Sequence[UsageEvent]) -> None:
            tries.append(self.clock.seconds())
            raise (StoreUnavailable, StoreBusy, StoreTimeout)[len(tries) % 3]("away")

        self.store.before = away
        batcher.startService()
        for number in range(100):
            journal.append(event(number))
            self.clock.pump([1] * 36)
        gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
        self.assertLessEqual(max(gaps), 16)
        self.assertGreaterEqual(min(gaps[8:]), 7)
        self.assertEqual(batcher.counters.failures, len(tries))
        self.store.before = lambda operation, events: None
        self.clock.advance(15)
        self.assertStored(range(100))

    def test_unknown_effect(self) -> None:
        """A batch that was committed although the store said it failed is counted once."""
        journal, batcher = self.journal(), self.batcher()
        lost = [True]

        def cut(operation: str, events: Sequence[UsageEvent]) -> None:
            if operation == "commit_usage" and lost:
                lost.clear()
                raise StoreTimeout("answer lost")

        self.store.after = cut
        batcher.startService()
        journal.append(event(1))
        self.clock.pump([5, 5])
        self.assertEqual(self.store.batches, [1, 1])
        self.assertStored([1])

    def test_bug_in_store(self) -> None:
        """An exception that no store should raise is logged loudly and costs no row."""
        journal, batcher = self.journal(), self.batcher()
        bugs = [True]

        def bug(operation: str, events: Sequence[UsageEvent]) -> None:
            if bugs:
                bugs.clear()
                raise KeyError("bug")

        self.store.before = bug
        batcher.startService()
        journal.append(event(1))
        self.clock.pump([5, 5])
        self.assertStored([1])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_poison(self) -> None:
        """A row that the store refuses for good is set aside, and the others go on."""
        poison = {event(n).id for n in (3, 70, 71)}

        def refuse(operation: str, events: Sequence[UsageEvent]) -> None:
            if any(one.id in poison for one in events):
                raise StoreRejected("refused")

        self.store.before = refuse
        self.put("box-0-old-00000001.jl", b"".join(encode(event(n)) for n in range(100)))
        batcher = self.batcher()
        batcher.startService()
        self.assertStored([n for n in range(100) if n not in (3, 70, 71)])
        self.assertEqual(self.names(), ["rejected.jl"])
        aside = decode_lines(bytes(self.fs.files[f"{PATH}/rejected.jl"].data))[0]
        self.assertEqual(aside, [event(3), event(70), event(71)])
        self.assertEqual((batcher.counters.rejected, batcher.counters.rows), (3, 97))

    def test_store_refuses_everything(self) -> None:
        """A refusal without any row is the store's fault, and tried again."""
        refused = [True]

        def refuse(operation: str, events: Sequence[UsageEvent]) -> None:
            if refused:
                raise StoreRejected("refused")

        self.store.before = refuse
        self.put("box-0-old-00000001.jl", encode(event(1)))
        batcher = self.batcher()
        batcher.startService()
        self.clock.pump([1] * 30)
        refused.clear()
        self.clock.pump([1] * 15)
        self.assertStored([1])
        self.assertEqual(batcher.counters.rejected, 0)

    def test_no_room_for_the_rejected(self) -> None:
        """While a refused row cannot be set aside, nothing goes on past it."""

        def refuse(operation: str, events: Sequence[UsageEvent]) -> None:
            if any(one.id == event(1).id for one in events):
                raise StoreRejected("refused")

        self.store.before = refuse
        self.put("box-0-old-00000001.jl", encode(event(1)) + encode(event(2)))
        batcher = self.batcher(rejected_bytes=10)
        batcher.startService()
        self.clock.pump([1] * 30)
        self.assertStored([])
        self.assertEqual(self.names(), ["box-0-old-00000001.jl", "rejected.jl"])

    def test_damage(self) -> None:
        """Damaged lines are counted and skipped; sound lines of another version are set aside."""
        other = encode(event(2)).replace(b"[1,", b"[9,")
        other = b"%08x %b" % (google_crc32c.value(other[9:-1]), other[9:])
        broken = bytearray(encode(event(3)))
        broken[40] ^= 4
        self.put("box-0-old-00000001.jl", encode(event(1)) + other + bytes(broken) + encode(event(4)) + b"\n")
        batcher = self.batcher()
        batcher.startService()
        self.assertStored([1, 4])
        self.assertEqual(batcher.counters.damaged, 3)
        self.assertEqual(bytes(self.fs.files[f"{PATH}/rejected.jl"].data), other)
        self.assertEqual(self.names(), ["rejected.jl"])

    def test_sound_lines_that_are_no_rows(self) -> None:
        """A line of this version that no store can read is set aside as damage, and costs no other."""
        odd = [seal(body) for body in (b"[1,", b"[1,5]", b'[1,5,"id"],[1,6]', b"[1,x]")]
        lines = [encode(event(n)) for n in range(9)]
        lines[0:0], lines[4:4], lines[8:8] = odd[:1], odd[1:3], odd[3:]
        self.put("box-0-old-00000001.jl", b"".join(lines))
        batcher = self.batcher()
        batcher.startService()
        self.assertStored(range(9))
        self.assertEqual((batcher.counters.damaged, batcher.counters.rejected), (4, 0))
        self.assertEqual(bytes(self.fs.files[f"{PATH}/rejected.jl"].data), b"".join(odd))
        self.assertEqual(self.names(), ["rejected.jl"])

    def test_rows_are_durable_before_their_segment_goes(self) -> None:
        """A synced journal keeps a committed segment until the store has its rows on disk."""
        away = [True]

        def before(operation: str, events: Sequence[UsageEvent]) -> None:
            if operation == "make_durable":
                if away:
                    raise StoreUnavailable("disk")
                self.assertEqual(self.names(), ["box-0-old-00000001.jl"])
                self.assertStored([1])
                away.append(False)

        self.store.before = before
        self.put("box-0-old-00000001.jl", encode(event(1)))
        self.batcher(fsync="interval").startService()
        self.clock.pump([1] * 10)
        self.assertStored([1])
        self.assertEqual(self.names(), ["box-0-old-00000001.jl"])
        away.clear()
        self.clock.pump([1] * 15)
        self.assertEqual((self.names(), away), ([], [False]))

    def test_unsynced_journal_asks_for_no_sync(self) -> None:
        """Without syncing of the journal the store is not asked to sync either."""
        asked: list[str] = []
        self.store.before = lambda operation, events: asked.append(operation)
        self.put("box-0-old-00000001.jl", encode(event(1)))
        self.batcher().startService()
        self.assertEqual(asked, ["journal_progress", "commit_usage", "forget_segments"])

    def test_unreadable_file(self) -> None:
        """A segment that cannot be read is logged and tried again, and holds up no other."""
        self.put("box-0-a-00000001.jl", encode(event(1)))
        self.put("box-0-b-00000001.jl", encode(event(2)))

        def fail(operation: str, path: str) -> None:
            if operation == "pread" and "-a-" in path:
                raise OSError(errno.EIO, "broken")

        self.fs.fail = fail
        batcher = self.batcher()
        batcher.startService()
        waiting = batcher.flush()
        self.assertStored([2])
        self.assertNoResult(waiting)
        self.fs.fail = lambda operation, path: None
        self.clock.advance(5)
        self.assertStored([1, 2])
        self.successResultOf(waiting)
        self.assertGreaterEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_late_bytes(self) -> None:
        """A segment that grew after it was taken for complete is not deleted before all is read."""
        self.put("box-0-old-00000001.jl", encode(event(1)))
        batcher = self.batcher()
        grown = [True]

        def grow(operation: str, events: Sequence[UsageEvent]) -> None:
            if operation == "commit_usage" and grown:
                grown.clear()
                self.fs.files[f"{PATH}/box-0-old-00000001.jl"].data += encode(event(2))

        self.store.after = grow
        batcher.startService()
        self.assertStored([1])
        self.clock.advance(5)
        self.assertStored([1, 2])
        self.assertEqual(self.names(), [])

    def test_killed_before_forgetting(self) -> None:
        """Progress of a file that is gone is forgotten by the next life."""
        self.store.progress["box-0-old-00000001.jl"] = 5
        batcher = self.batcher()
        self.fs.makedirs(PATH)
        batcher.startService()
        self.assertEqual(self.store.progress, {})

    def test_any_history(self) -> None:
        """Whatever fails, and whichever life of writer or batcher ends when, each row is there once."""
        for seed in range(12):
            self.setUp()
            rng = random.Random(seed)

            def trouble(operation: str, events: Sequence[UsageEvent], rng: random.Random = rng) -> None:
                if rng.random() < 0.3:
                    raise rng.choice((StoreUnavailable, StoreTimeout, StoreBusy))("trouble")

            self.store.before = self.store.after = trouble
            journal, batcher = self.journal("b0"), self.batcher(batch_rows=7)
            batcher.startService()
            number = 0
            for life in range(1, 60):
                for _ in range(rng.randrange(8)):
                    journal.append(event(number))
                    number += 1
                self.clock.advance(rng.random() * 4)
                chance = rng.random()
                if chance < 0.15:
                    # ``kill -9``: the old writer never says that it is gone.
                    self.live.discard(journal.writer)
                    journal.append = None  # type: ignore[method-assign,assignment]
                    journal = self.journal(f"b{life}")
                elif chance < 0.3:
                    batcher._persistent.stop()
                    batcher = self.batcher(batch_rows=7)
                    batcher.startService()
            self.store.before = self.store.after = lambda operation, events: None
            flushed = batcher.flush()
            self.clock.pump([15] * 4)
            self.successResultOf(flushed)
            self.assertStored(range(number))


class StopTests(BatcherCase):
    """Stopping."""

    def test_drains(self) -> None:
        """Stopping commits what is there, live segments too, and leaves no timer."""
        journal, batcher = self.journal(), self.batcher()
        batcher.startService()
        journal.append(event(1))
        self.successResultOf(journal.close())
        self.live.clear()
        self.successResultOf(batcher.stopService())
        self.assertStored([1])
        self.assertEqual((self.names(), self.clock.getDelayedCalls()), ([], []))

    def test_deadline(self) -> None:
        """With the store away, stopping ends at its deadline, and the rows stay in the journal."""
        self.put("box-0-old-00000001.jl", encode(event(1)))

        def away(operation: str, events: Sequence[UsageEvent]) -> None:
            raise StoreUnavailable("away")

        self.store.before = away
        batcher = self.batcher()
        batcher.startService()
        stopped = batcher.stopService()
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.names(), ["box-0-old-00000001.jl"])
        self.failureResultOf(batcher.flush(), StoreUnavailable)

    def test_deadline_with_a_hanging_store(self) -> None:
        """A store that does not answer at all does not hold up stopping."""
        self.put("box-0-old-00000001.jl", encode(event(1)))
        self.store.hold = []
        batcher = self.batcher()
        batcher.startService()
        stopped = batcher.stopService()
        self.clock.advance(10)
        self.successResultOf(stopped)
        self.store.hold.pop().callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tries_at_once(self) -> None:
        """Stopping does not sit out a wait between tries."""
        self.put("box-0-old-00000001.jl", encode(event(1)))
        away = [True]

        def before(operation: str, events: Sequence[UsageEvent]) -> None:
            if away:
                raise StoreUnavailable("away")

        self.store.before = before
        batcher = self.batcher()
        batcher.startService()
        self.clock.pump([1] * 20)
        away.clear()
        self.successResultOf(batcher.stopService())
        self.assertStored([1])
