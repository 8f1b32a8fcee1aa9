"""A file system in memory with a size, so that full disks and short writes can be had at will."""

from __future__ import annotations

import errno
import os
from typing import Any, Callable

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from voidllm.core.world import World


def _refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@define
class MemoryFile:
    """One file: its bytes, and how many blocks' worth is allocated beyond them."""

    data: bytearray = field(factory=bytearray)
    allocated: int = 0
    mode: int = 0
    synced: int = 0

    @property
    def size(self) -> int:
        """What ``stat`` would say."""
        return max(len(self.data), self.allocated)


class MemoryFileSystem:
    """``voidllm.core.world.FileSystem`` in memory.

    :ivar capacity: bytes that the disk holds, ``None`` for no end.
    :ivar fail: called with the operation's name and path before each; may raise.
    :ivar short: when the disk is nearly full, write what fits instead of refusing.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.files: dict[str, MemoryFile] = {}
        self.folders: set[str] = set()
        self.descriptors: dict[int, tuple[str, MemoryFile | None, int]] = {}
        self.short = False
        self.fail: Callable[[str, str], None] = lambda operation, path: None
        self._next = 100

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        if self.capacity is None:
            return 1 << 60
        live = {id(file): file for file in self.files.values()}
        for _, file, _ in self.descriptors.values():
            if file is not None:
                live[id(file)] = file
        return self.capacity - sum(file.size for file in live.values())

    def _of(self, fd: int) -> tuple[str, MemoryFile]:
        path, file, _ = self.descriptors[fd]
        if file is None:
            raise _refuse(errno.EISDIR)
        return path, file

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self.fail("open", path)
        file: MemoryFile | None
        if path in self.folders:
            file = None
        elif path in self.files:
            if flags & os.O_EXCL:
                raise _refuse(errno.EEXIST)
            file = self.files[path]
        elif flags & os.O_CREAT:
            if os.path.dirname(path) not in self.folders:
                raise _refuse(errno.ENOENT)
            file = self.files[path] = MemoryFile(mode=mode)
        else:
            raise _refuse(errno.ENOENT)
        self._next += 1
        self.descriptors[self._next] = (path, file, flags)
        return self._next

    def write(self, fd: int, data: bytes) -> int:
        path, file = self._of(fd)
        self.fail("write", path)
        room = self.room
        if len(data) > room:
            if not self.short or room <= 0:
                raise _refuse(errno.ENOSPC)
            data = data[:room]
        file.data += data
        return len(data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        path, file = self._of(fd)
        self.fail("pread", path)
        return bytes(file.data[offset : offset + size])

    def fsync(self, fd: int) -> None:
        path, file, _ = self.descriptors[fd]
        self.fail("fsync", path)
        if file is not None:
            file.synced = len(file.data)

    def ftruncate(self, fd: int, size: int) -> None:
        path, file = self._of(fd)
        self.fail("ftruncate", path)
        del file.data[size:]
        file.allocated = min(file.allocated, size)

    def posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        path, file = self._of(fd)
        self.fail("posix_fallocate", path)
        more = offset + size - file.size
        if more > self.room:
            raise _refuse(errno.ENOSPC)
        file.allocated = max(file.allocated, offset + size)

    def close(self, fd: int) -> None:
        del self.descriptors[fd]

    def listdir(self, path: str) -> list[str]:
        self.fail("listdir", path)
        if path not in self.folders:
            raise _refuse(errno.ENOENT)
        return [os.path.basename(name) for name in self.files if os.path.dirname(name) == path]

    def getsize(self, path: str) -> int:
        if path not in self.files:
            raise _refuse(errno.ENOENT)
        return self.files[path].size

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def unlink(self, path: str) -> None:
        self.fail("unlink", path)
        if path not in self.files:
            raise _refuse(errno.ENOENT)
        del self.files[path]

    def makedirs(self, path: str, mode: int = 0o700) -> None:
        while path not in self.folders:
            self.folders.add(path)
            path = os.path.dirname(path)

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.folders


def at_once(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
    """Run ``f`` now, as a simulated world's threads do."""
    return maybeDeferred(f, *args, **kwargs)


def memory_world(clock: Clock, fs: MemoryFileSystem) -> World:
    """Give a world of ``clock`` and ``fs`` in which threads run at once."""
    return World(reactor=clock, in_thread=at_once, wall_ms=lambda: int(clock.seconds() * 1000), fs=fs)
