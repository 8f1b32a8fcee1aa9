"""Where rows go that the store will never take, so that they neither block nor vanish."""

from __future__ import annotations

import errno
import os

from voidllm.core.world import FileSystem

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class SetAside:
    """A bounded file of journal lines that only a person can deal with.

    :param limit: most bytes the file may hold.
    """

    def __init__(self, fs: FileSystem, path: str, limit: int) -> None:
        self._fs = fs
        self._path = path
        self._limit = limit

    def keep(self, line: bytes) -> None:
        """Append one line, newline included, and sync it; blocking.

        :raises OSError: when it could not be kept; ``ENOSPC`` also at the file's own limit.
        """
        fd = self._fs.open(self._path, _FLAGS, 0o600)
        try:
            size = self._fs.getsize(self._path)
            if size + len(line) > self._limit:
                raise OSError(errno.ENOSPC, "the file of rejected rows is full")
            if self._fs.write(fd, line) != len(line):
                self._fs.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, "short write")
            self._fs.fsync(fd)
        finally:
            self._fs.close(fd)
