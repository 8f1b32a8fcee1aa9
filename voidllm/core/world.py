"""The world as a parameter: reactor, time, randomness, files and threads.

Whole gateways run in one simulated process in tests, so no module below
:mod:`voidllm.service` may import a reactor, read the clock, or open a file
except through the :class:`World` that it was given.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import time
from typing import Any, Callable, Protocol

from attrs import field, frozen


class FileSystem(Protocol):
    """The few file operations that durable parts need; :mod:`os` semantics, ``OSError`` raised."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int: ...
    def write(self, fd: int, data: bytes) -> int: ...
    def pread(self, fd: int, size: int, offset: int) -> bytes: ...
    def fsync(self, fd: int) -> None: ...
    def ftruncate(self, fd: int, size: int) -> None: ...
    def posix_fallocate(self, fd: int, offset: int, size: int) -> None: ...
    def close(self, fd: int) -> None: ...
    def listdir(self, path: str) -> list[str]: ...
    def getsize(self, path: str) -> int: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def makedirs(self, path: str, mode: int = 0o700) -> None: ...
    def exists(self, path: str) -> bool: ...


class RealFileSystem:
    """:class:`FileSystem` on the operating system."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    pread = staticmethod(os.pread)
    fsync = staticmethod(os.fsync)
    ftruncate = staticmethod(os.ftruncate)
    posix_fallocate = staticmethod(os.posix_fallocate)
    close = staticmethod(os.close)
    listdir = staticmethod(os.listdir)
    getsize = staticmethod(os.path.getsize)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    exists = staticmethod(os.path.exists)

    @staticmethod
    def makedirs(path: str, mode: int = 0o700) -> None:
        """Make ``path`` and its parents; an existing folder is no error.

        :raises PermissionError: if everybody may write to the folder: whatever is in it, links
            to places of other people among it, may have been put there by anybody.
        """
        os.makedirs(path, mode, exist_ok=True)
        found = os.stat(path)
        if found.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "everybody may write to this folder (chmod 700 it)", path)
        if found.st_mode & stat.S_IWGRP and found.st_uid == os.geteuid():
            os.chmod(path, stat.S_IMODE(found.st_mode) & ~stat.S_IWGRP)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@frozen
class World:
    """Everything impure that a gateway touches.

    :ivar reactor: provides ``IReactorTime``, ``IReactorTCP`` and ``IReactorCore``;
        ``reactor.seconds()`` is the monotonic clock, in seconds.
    :ivar in_thread: ``in_thread(f, *a, **kw) -> Deferred`` runs blocking ``f`` off the
        reactor; a simulated world runs it at once.
    :ivar wall_ms: Unix time in integer milliseconds, UTC.
    :ivar random_bytes: cryptographic randomness.
    :ivar rng: cheap randomness for jitter and load balancing, never for secrets.
    :ivar fs: files.
    """

    reactor: Any
    in_thread: Callable[..., Any]
    wall_ms: Callable[[], int] = _wall_ms
    random_bytes: Callable[[int], bytes] = os.urandom
    rng: random.Random = field(factory=random.Random)
    fs: FileSystem = field(factory=RealFileSystem)
