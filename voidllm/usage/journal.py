"""The usage journal: one line on local disk for every finished unit of work.

The kernel has the line before anything that ``append``'s caller sends afterwards can leave, so
``kill -9`` at any moment loses nothing that anybody was told of. The lines of one turn of the
reactor are one system call where the turn has an end that can be waited for
(:mod:`voidllm.http.polling`); elsewhere ``append`` writes at once. On a full disk, space that was
held back is used up before any new work is refused.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.errors import JournalFull
from voidllm.core.interfaces import IJournal
from voidllm.core.usage import UsageEvent
from voidllm.core.world import World
from voidllm.http.polling import outbox_of
from voidllm.usage.codec import encode
from voidllm.usage.reserve import Reserve
from voidllm.usage.segments import Segment, folder
from voidllm.usage.settings import UsageSettings
from voidllm.usage.sync import Syncer

_log = Logger()

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND


@implementer(IJournal)
class Journal:
    """Writes the segments of one worker's life.

    :param box: this machine's name among those that share the database.
    :param worker: number of the worker, from 0.
    :param boot: names this life of the worker; holds no ``-``, used by no other life.
    :ivar dropped: rows that are lost: there was no room for them on disk nor in memory.
    :ivar on_sealed: callables that get the name of each segment that is complete.
    """

    def __init__(
        self, world: World, state_dir: str, box: str, worker: int, boot: str, settings: UsageSettings
    ) -> None:
        if "/" in box or "-" in boot:
            raise ValueError("box must not hold '/', boot must not hold '-'")
        self.dropped = 0
        self.on_sealed: list[Callable[[str], None]] = []
        self._world = world
        self._fs = world.fs
        self._write = world.fs.write
        self._settings = settings
        self._path = folder(state_dir)
        self._next = Segment(box, worker, boot, 1)
        self._name = ""
        self._fd = -1
        self._size = 0
        self._rotation: Any = None
        self._retry: Any = None
        self._refilling: Deferred[None] | None = None
        self._outbox = outbox_of(world.reactor)
        self._collected: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._accepting = True
        self._closed = False
        self._reserve = Reserve(
            world.fs, os.path.join(self._path, f"{box}-{worker}.reserve"), settings.reserve_bytes
        )
        self._syncer = Syncer(world, self._path, settings.fsync_seconds, settings.fsync == "interval")

    @property
    def writer(self) -> tuple[int, str]:
        """Worker and boot, as in the names of this journal's segments."""
        return self._next.writer

    @property
    def closed(self) -> bool:
        """Whether this writer is dead, so that all its segments are complete."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many rows are in memory only, because the disk takes nothing."""
        return len(self._waiting)

    def start(self) -> Deferred[None]:
        """Make the folder and hold disk space back; fires when that is done as well as it can be."""
        self._fs.makedirs(self._path, 0o700)
        return self._refill()

    def accepting(self) -> bool:
        """Say whether a new unit of work's row would surely fit; a plain look at a flag."""
        return self._accepting

    def append(self, event: UsageEvent) -> None:
        """Write one event before anything leaves that is sent after this.

        :raises JournalFull: if the disk took nothing, reserve included, and that is known already.
            The row is not lost: it waits in memory and is tried again, so it must not be
            appended again.
        """
        line = encode(event)
        if self._outbox is not None and not self._waiting and not self._closed:
            if not self._collected:
                self._outbox.add_first(self)
            self._collected.append(line)
            return
        if self._waiting:
            self._hold(line)
            self._drain()
            if self._waiting:
                raise JournalFull("the usage journal waits for disk space")
            return
        try:
            self._put(line)
        except OSError as problem:
            self._hold(line)
            self._degraded()
            raise JournalFull(
                f"the usage journal cannot be written: {os.strerror(problem.errno or 0)}"
            ) from None

    def flush(self) -> None:
        """Write the rows of this turn; those that cannot be written wait in memory."""
        lines, self._collected = self._collected, []
        if not lines:
            return
        try:
            self._put(lines[0] if len(lines) == 1 else b"".join(lines))
        except OSError as problem:
            for line in lines:
                self._hold(line)
            if len(lines) > 1 and problem.errno in _FULL:
                # There is not room for all of them, but perhaps for some.
                self._drain()
            self._degraded()

    def rotate(self) -> None:
        """Complete the current segment, if there is one."""
        self.flush()
        self._seal(sync=False)

    def close(self) -> Deferred[None]:
        """Complete the last segment and sync it; fires when every file is closed."""
        if not self._closed:
            self.flush()
            self._drain()
            self._closed = True
            if self._waiting:
                self.dropped += len(self._waiting)
                _log.critical("usage journal: {count} rows had no room on disk", count=len(self._waiting))
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._seal(sync=True)
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        if self._refilling is not None:
            await self._refilling
        await self._syncer.idle()
        self._reserve.close()

    def _put(self, line: bytes) -> None:
        """Write ``line``, or several, whole or not at all; raises what the disk said last."""
        while True:
            try:
                if self._fd < 0:
                    self._open_segment()
                written = self._write(self._fd, line)
                if written == len(line):
                    break
                problem = OSError(errno.ENOSPC, "short write")
            except OSError as refused:
                if refused.errno not in _FULL:
                    if self._size:
                        # A fresh file may work where this one does not.
                        self._seal(sync=False)
                    raise
                written, problem = 0, refused
            if written:
                self._undo()
            if not self._reserve.release():
                raise problem
            self._degraded()
        self._size += len(line)
        self._syncer.touched(self._fd, self._size == len(line))
        if self._size >= self._settings.segment_bytes or self._closed:
            self._seal(sync=False)

    def _undo(self) -> None:
        try:
            self._fs.ftruncate(self._fd, self._size)
        except OSError:
            # Readers skip the torn tail of a complete segment; nothing may follow it.
            self._seal(sync=False)

    def _open_segment(self) -> None:
        segment = self._next
        self._fd = self._fs.open(os.path.join(self._path, segment.name), _FLAGS, 0o600)
        self._name = segment.name
        self._size = 0
        self._next = Segment(segment.box, segment.worker, segment.boot, segment.seq + 1)
        if not self._closed:
            self._rotation = self._world.reactor.callLater(self._settings.segment_seconds, self._rotate_late)

    def _rotate_late(self) -> None:
        self._rotation = None
        self._seal(sync=False)

    def _seal(self, sync: bool) -> None:
        if self._rotation is not None:
            self._rotation.cancel()
            self._rotation = None
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._size = 0
        self._syncer.retire(fd, sync)
        for callback in self.on_sealed:
            try:
                callback(self._name)
            except Exception:
                # The row is written; whoever finished it must not hear of a listener's trouble.
                _log.failure("usage journal: a listener failed")

    def _hold(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > self._settings.memory_bytes:
            # ``accepting`` refused new work long before; only rows of running work come here.
            self.dropped += 1
            _log.critical("usage journal: no room on disk nor in memory, a row is lost")
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _drain(self) -> None:
        """Write what waits in memory, oldest first, as far as the disk takes it."""
        waiting = self._waiting
        while waiting:
            try:
                self._put(waiting[0])
            except OSError:
                break
            self._waiting_bytes -= len(waiting.popleft())
        self._judge()

    def _degraded(self) -> None:
        """Note that the disk is full, and try again until it is not."""
        self._judge()
        if self._retry is None and self._refilling is None and not self._closed:
            self._retry = self._world.reactor.callLater(self._settings.retry_seconds, self._try_again)

    def _judge(self) -> None:
        accepting = self._reserve.enough and not self._waiting
        if accepting != self._accepting:
            self._accepting = accepting
            if accepting:
                _log.info("usage journal: there is room again, new work is admitted")
            else:
                _log.critical("usage journal: the disk is full, new work is refused")

    def _try_again(self) -> None:
        self._retry = None
        self._drain()
        self._refill()

    def _refill(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._refilling = done
        self._world.in_thread(self._reserve.refill).addBoth(self._refilled, done)
        return done

    def _refilled(self, outcome: OSError | Failure | None, done: Deferred[None]) -> None:
        self._refilling = None
        if isinstance(outcome, Failure):
            _log.failure("usage journal: the reserve could not be made", outcome)
        self._judge()
        if self._waiting or not self._reserve.whole:
            self._degraded()
        done.callback(None)
