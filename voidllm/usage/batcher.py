"""From the journal to the store: exactly once, however often either of them dies."""

from __future__ import annotations

import os
from typing import Any, Awaitable, Callable, Collection, Mapping, Protocol, Sequence

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voidllm.core.errors import StoreConflict, StoreRejected, StoreUnavailable
from voidllm.core.usage_line import Unusable, decode_line, started_ms
from voidllm.core.world import World
from voidllm.usage.codec import MAX_LINE, Scanned, scan_lines, seal
from voidllm.usage.retry import Persistent, Stopped
from voidllm.usage.segments import REJECTED, Segment, folder, parse, read, scan
from voidllm.usage.setaside import SetAside
from voidllm.usage.settings import UsageSettings

_log = Logger()


class UsageStore(Protocol):
    """What the batcher needs of a store."""

    def journal_progress(self) -> Awaitable[Mapping[str, int]]:
        """Give the committed bytes of each segment that the store knows."""

    def commit_lines(self, segment: str, end_offset: int, lines: Sequence[bytes]) -> Awaitable[Any]:
        """Insert rows, add those that are new to the roll-up, and move progress; in one transaction."""

    def make_durable(self) -> Awaitable[Any]:
        """Have everything that is committed outlive a power cut."""

    def forget_segments(self, segments: Sequence[str]) -> Awaitable[Any]:
        """Drop the progress of segments whose files are gone."""


@define
class UsageCounters:
    """What the batcher has done and what it has before it; for metrics.

    :ivar rows: rows handed to the store and committed.
    :ivar damaged: stretches of journal bytes that held no usable event.
    :ivar rejected: rows set aside because the store refused them for good.
    :ivar failures: tries that failed, of store or files.
    :ivar lag_bytes: journal bytes not yet committed, as of the newest look.
    :ivar oldest_ms: when the oldest row that is being committed began, Unix milliseconds.
    """

    rows: int = 0
    damaged: int = 0
    rejected: int = 0
    failures: int = 0
    lag_bytes: int = 0
    oldest_ms: int | None = None


class UsageBatcher(Service):
    """Reads every segment of this box, commits it, and deletes what is complete and committed.

    :param live_writers: gives ``(worker, boot)`` of every writer that may still append; a segment
        of any other writer is taken for complete, and deleted once it is committed.
    """

    def __init__(
        self,
        world: World,
        store: UsageStore,
        state_dir: str,
        box: str,
        settings: UsageSettings,
        counters: UsageCounters,
        *,
        live_writers: Callable[[], Collection[tuple[int, str]]],
    ) -> None:
        self.counters = counters
        self._world = world
        self._store = store
        self._box = box
        self._settings = settings
        self._live_writers = live_writers
        self._path = folder(state_dir)
        self._aside = SetAside(world.fs, os.path.join(self._path, REJECTED), settings.rejected_bytes)
        self._persistent = Persistent(world, settings.backoff_seconds, self._failed)
        self._progress: dict[str, int] | None = None
        self._sealed: set[str] = set()
        self._gone: list[str] = []
        self._told: set[str] = set()
        # Those who wait for a pass that begins after their call, and those whose pass is running.
        self._waiting: list[Deferred[None]] = []
        self._served: list[Deferred[None]] = []
        self._timer: Any = None
        self._working = False
        self._again = False

    def startService(self) -> None:
        """Begin with whatever earlier lives left in the folder."""
        super().startService()  # type: ignore[no-untyped-call]
        self.wake()

    def stopService(self) -> Deferred[None]:
        """Commit what is there, for as long as ``drain_seconds``; the rest stays in the journal."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    def segment_sealed(self, name: str) -> None:
        """Learn that a segment is complete; put this into ``Journal.on_sealed``."""
        self._sealed.add(name)
        self.wake()

    def wake(self) -> None:
        """Look at the journal now."""
        if self._persistent.stopped:
            return
        if self._working:
            self._again = True
            return
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        self._working, self._again = True, False
        self._served, self._waiting = self._waiting, []
        Deferred.fromCoroutine(self._pass()).addBoth(self._passed)

    def flush(self) -> Deferred[None]:
        """Commit everything that was appended before this call.

        :returns: fires when that is done; fails with ``StoreUnavailable`` if the batcher is
            stopped before.
        """
        done: Deferred[None] = Deferred()
        if self._persistent.stopped:
            done.errback(StoreUnavailable("the usage batcher is stopped"))
            return done
        self._waiting.append(done)
        self.wake()
        return done

    async def _stop(self) -> None:
        if self._persistent.stopped:
            return
        done = self.flush()
        self._persistent.hurry()
        deadline = self._world.reactor.callLater(self._settings.drain_seconds, self._give_up)
        try:
            await done
        except StoreUnavailable:
            _log.warn(
                "usage batcher: stopped with {count} journal bytes to go", count=self.counters.lag_bytes
            )
        finally:
            if deadline.active():
                deadline.cancel()
            self._give_up()

    def _give_up(self) -> None:
        self._persistent.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        # A pass may hang in a store that does not answer; nobody waits longer than the deadline.
        waiting = self._served + self._waiting
        self._served, self._waiting = [], []
        for done in waiting:
            done.errback(StoreUnavailable("the usage batcher was stopped"))

    def _failed(self) -> None:
        self.counters.failures += 1

    def _passed(self, outcome: Failure | None) -> None:
        self._working = False
        served, self._served = self._served, []
        if isinstance(outcome, Failure):
            # Whoever waits goes on waiting for a pass that goes through.
            self._waiting = served + self._waiting
            if not isinstance(outcome.value, Stopped):
                self._failed()
                _log.failure("usage batcher: a look at the journal failed", outcome)
        else:
            for done in served:
                done.callback(None)
        if self._persistent.stopped:
            self._give_up()
        elif self._again:
            self.wake()
        else:
            self._timer = self._world.reactor.callLater(self._settings.flush_seconds, self.wake)

    async def _pass(self) -> None:
        """Commit everything that is in the folder now."""
        call = self._persistent.call
        if self._progress is None:
            self._progress = dict(await call(False, self._store.journal_progress))
        # Who lives is asked before and after the look, so that neither a writer that is just
        # starting nor one that is just ending has a segment taken for complete too early.
        live = set(self._live_writers())
        sizes = await self._world.in_thread(scan, self._world.fs, self._path)
        live.update(self._live_writers())
        own = {segment: size for segment, size in sizes.items() if segment.box == self._box}
        self._tell_foreign(len(sizes) - len(own))
        newest = {segment.writer: segment.seq for segment in own}
        names = {segment.name for segment in own}
        self._forget(names)
        self.counters.lag_bytes = sum(
            max(0, size - self._progress.get(segment.name, 0)) for segment, size in own.items()
        )
        failed: OSError | None = None
        for segment, size in own.items():
            complete = (
                segment.writer not in live
                or segment.seq < newest[segment.writer]
                or segment.name in self._sealed
            )
            if complete or size > self._progress.get(segment.name, 0):
                try:
                    await self._drain(segment, size, complete)
                except OSError as problem:
                    # One file that cannot be read must not hold up the others.
                    failed = failed or problem
        self.counters.oldest_ms = None
        if self._gone:
            await call(False, self._store.forget_segments, list(self._gone))
            for name in self._gone:
                self._progress.pop(name, None)
            self._gone.clear()
        if failed is not None:
            raise failed

    def _forget(self, names: set[str]) -> None:
        """Note progress of this box whose file a crash left deleted but not forgotten."""
        assert self._progress is not None
        for name in self._progress:
            segment = parse(name)
            if segment is not None and segment.box == self._box and name not in names:
                self._gone.append(name)

    async def _drain(self, segment: Segment, size: int, complete: bool) -> None:
        """Commit what ``segment`` holds, and delete it if it is complete."""
        assert self._progress is not None
        path = os.path.join(self._path, segment.name)
        offset = self._progress.get(segment.name, 0)
        lines: list[bytes] = []
        ends: list[int] = []
        tail = 0
        while complete or offset < size:
            if self._persistent.stopped:
                raise Stopped
            try:
                scanned, tail = await self._world.in_thread(self._read, path, offset)
            except FileNotFoundError:
                return
            if not scanned.consumed:
                break
            await self._note_damage(path, offset, scanned)
            lines += scanned.lines
            ends += [offset + end for end in scanned.ends]
            offset += scanned.consumed
            most = self._settings.batch_rows
            done = 0
            while len(lines) - done > most:
                last = done + most
                await self._commit(segment.name, lines[done:last], ends[done:last], ends[last - 1])
                done = last
            del lines[:done], ends[:done]
        if offset > self._progress.get(segment.name, 0):
            await self._commit(segment.name, lines, ends, offset)
        if complete:
            if self._settings.fsync == "interval":
                # The journal was synced; rows must not be less safe once they are out of it.
                await self._persistent.call(False, self._store.make_durable)
            await self._remove(segment, path, offset, tail)

    def _read(self, path: str, offset: int) -> tuple[Scanned, int]:
        """Read and check one piece, and tell how many bytes of an unfinished line follow; blocking."""
        data = read(self._world.fs, path, offset, max(self._settings.read_bytes, MAX_LINE + 2))
        scanned = scan_lines(data)
        return scanned, len(data) - scanned.consumed

    async def _note_damage(self, path: str, offset: int, scanned: Scanned) -> None:
        for damage in scanned.problems:
            self._count_damage(os.path.basename(path), offset + damage.offset, damage.reason)
            if damage.reason != "checksum":
                # Sound bytes that this version cannot use: a newer version, or a person, can.
                line = await self._world.in_thread(
                    read, self._world.fs, path, offset + damage.offset, damage.length
                )
                await self._keep(line)

    def _count_damage(self, name: str, offset: int, reason: str) -> None:
        self.counters.damaged += 1
        self._tell_once(
            f"damage {reason}",
            "usage journal: damaged line in {name} at {offset} ({reason})",
            name=name,
            offset=offset,
            reason=reason,
        )

    async def _commit(self, name: str, lines: list[bytes], ends: list[int], end: int) -> None:
        """Commit ``lines`` and progress up to ``end``; those that cannot be stored are set aside."""
        assert self._progress is not None
        if lines:
            self._note_age(lines[0])
        try:
            # Without rows there is nothing to blame for a refusal but the store itself.
            await self._persistent.call(bool(lines), self._store.commit_lines, name, end, lines)
        except (StoreRejected, StoreConflict) as refusal:
            half = len(lines) // 2
            if half:
                await self._commit(name, lines[:half], ends[:half], ends[half - 1])
                await self._commit(name, lines[half:], ends[half:], end)
                return
            await self._refused(name, lines[0], ends[0], refusal)
            await self._commit(name, [], [], end)
            return
        self.counters.rows += len(lines)
        self.counters.lag_bytes = max(0, self.counters.lag_bytes - (end - self._progress.get(name, 0)))
        self._progress[name] = end

    def _note_age(self, line: bytes) -> None:
        try:
            self.counters.oldest_ms = started_ms(line)
        except ValueError:
            # The store will refuse it.
            return

    async def _refused(self, name: str, line: bytes, end: int, refusal: Exception) -> None:
        """Set a line aside that the store will never take, and tell whose fault it is."""
        sealed = seal(line)
        await self._keep(sealed)
        try:
            event = decode_line(line)
        except Unusable as problem:
            self._count_damage(name, end - len(sealed), problem.reason)
            return
        self.counters.rejected += 1
        self._tell_once(
            "rejected",
            "usage batcher: the store refuses row {id} ({reason}); it is in {file}",
            id=event.id,
            reason=type(refusal).__name__,
            file=REJECTED,
        )

    async def _keep(self, line: bytes) -> None:
        await self._persistent.call(False, self._world.in_thread, self._aside.keep, line)

    async def _remove(self, segment: Segment, path: str, offset: int, tail: int) -> None:
        if not await self._world.in_thread(self._unlink, path, offset + tail):
            return
        if tail:
            self.counters.damaged += 1
            self._tell_once("torn", "usage journal: {name} ended within a line", name=segment.name)
        self._sealed.discard(segment.name)
        self._gone.append(segment.name)

    def _unlink(self, path: str, size: int) -> bool:
        """Delete the file if it is still ``size`` bytes long; blocking."""
        try:
            if self._world.fs.getsize(path) != size:
                return False
            self._world.fs.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def _tell_foreign(self, count: int) -> None:
        if count:
            self._tell_once(
                "foreign",
                "usage journal: {count} segments belong to another box name and are left alone",
                count=count,
            )

    def _tell_once(self, what: str, text: str, **fields: Any) -> None:
        """Log the first of its kind; the counters count the others."""
        if what not in self._told:
            self._told.add(what)
            _log.error(text, **fields)
