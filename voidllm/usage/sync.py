"""Getting journal files onto the platter without the reactor waiting for it."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voidllm.core.world import World

_log = Logger()


class Syncer:
    """Runs fsync and close in a thread, one job at a time; has a timer only while bytes wait.

    :param path: folder of the files, synced too after a file was made.
    :param interval: seconds from the first unsynced byte to its fsync.
    :param every: False (``usage.fsync: off``) leaves syncing to the kernel.
    """

    def __init__(self, world: World, path: str, interval: float, every: bool) -> None:
        self._world = world
        self._path = path
        self._interval = interval
        self._every = every
        self._dirty = -1
        self._folder_dirty = False
        self._retired: list[int] = []
        self._timer: Any = None
        self._running = False
        self._waiters: list[Deferred[None]] = []

    def touched(self, fd: int, new: bool) -> None:
        """Note that bytes were written to ``fd``, which is a ``new`` file or not."""
        if not self._every:
            return
        self._dirty = fd
        self._folder_dirty |= new
        if self._timer is None and not self._running:
            self._timer = self._world.reactor.callLater(self._interval, self._tick)

    def retire(self, fd: int, sync: bool = False) -> None:
        """Close ``fd``, after an fsync if that is the rule or ``sync`` says so."""
        if self._dirty == fd:
            self._dirty = -1
        if not (self._every or sync):
            self._world.fs.close(fd)
            return
        self._retired.append(fd)
        self._start()

    def idle(self) -> Deferred[None]:
        """Wait until nothing is left to do."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        if not self._running:
            self._finished(None)
        return waiter

    def _tick(self) -> None:
        self._timer = None
        self._start()

    def _start(self) -> None:
        if self._running:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        retired, self._retired = self._retired, []
        dirty, self._dirty = self._dirty, -1
        folder, self._folder_dirty = self._folder_dirty, False
        self._running = True
        done: Deferred[None] = self._world.in_thread(self._work, retired, dirty, folder)
        done.addBoth(self._finished)

    def _work(self, retired: list[int], dirty: int, folder: bool) -> None:
        fs = self._world.fs
        problems: list[OSError] = []
        for fd in [*retired, dirty] if dirty >= 0 else retired:
            try:
                fs.fsync(fd)
            except OSError as problem:
                problems.append(problem)
        for fd in retired:
            try:
                fs.close(fd)
            except OSError as problem:
                problems.append(problem)
        if folder:
            try:
                handle = fs.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fs.fsync(handle)
                finally:
                    fs.close(handle)
            except OSError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def _finished(self, outcome: Failure | None) -> None:
        self._running = False
        if isinstance(outcome, Failure):
            _log.failure("usage journal: fsync failed", outcome)
        if self._retired:
            self._start()
        elif self._dirty >= 0:
            self.touched(self._dirty, False)
        if not self._running and self._timer is None:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)
