"""Disk space held back so that rows still fit on a full disk."""

from __future__ import annotations

import os
import re
import threading

from voidllm.core.world import FileSystem

_SLICES = 16


def give_back(fs: FileSystem, folder: str, box: str, writers: int) -> None:
    """Remove what writers held back that are no more, because there are fewer than before; blocking.

    :param writers: how many there are now; their numbers are below this.
    """
    for name in fs.listdir(folder):
        found = re.fullmatch(rf"{re.escape(box)}-(\d+)\.reserve", name)
        if found is not None and int(found[1]) >= writers:
            fs.unlink(os.path.join(folder, name))


class Reserve:
    """A file whose blocks are given back to the disk, slice by slice, when it is full.

    Slices, because space that is freed all at once may be taken by a neighbour; and the last
    slice is for the rows of work that is already admitted (see :attr:`enough`).

    :param size: bytes to hold back; 0 makes every operation do nothing.
    """

    def __init__(self, fs: FileSystem, path: str, size: int) -> None:
        self._fs = fs
        self._path = path
        self._size = size
        self._slice = max(1, size // _SLICES)
        self._held = 0
        self._fd = -1
        # ``refill`` runs in a thread; a row that meets a full disk meanwhile must not see half of it.
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """How many bytes are held back now."""
        return self._held

    @property
    def whole(self) -> bool:
        """Whether everything that should be held back is."""
        return self._held >= self._size

    @property
    def enough(self) -> bool:
        """Whether new work may be admitted: more than the last slice is there."""
        return self._size == 0 or self._held > self._slice

    def release(self) -> bool:
        """Give one slice back to the disk; ``False`` if nothing is left to give."""
        with self._lock:
            if self._held <= 0:
                return False
            smaller = max(0, self._held - self._slice)
            try:
                self._fs.ftruncate(self._fd, smaller)
            except OSError:
                return False
            self._held = smaller
            return True

    def refill(self) -> OSError | None:
        """Take space from the disk until whole; blocking, for a thread.

        :returns: why it could not be taken, or ``None``.
        """
        try:
            self._open()
            while not self.whole:
                with self._lock:
                    if self._fd < 0:
                        return None
                    step = min(self._slice, self._size - self._held)
                    try:
                        self._fs.posix_fallocate(self._fd, self._held, step)
                    except OSError:
                        # Half a slice would be held back without being known.
                        self._fs.ftruncate(self._fd, self._held)
                        raise
                    self._held += step
        except OSError as problem:
            return problem
        return None

    def close(self) -> None:
        """Close the file; its space stays held back for the successor."""
        with self._lock:
            if self._fd >= 0:
                self._fs.close(self._fd)
                self._fd = -1
                self._held = 0

    def _open(self) -> None:
        with self._lock:
            if self._fd >= 0 or self._size == 0:
                return
            self._fd = self._fs.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            # A file of the right length may have holes (a copied state folder): allocate it anew.
            self._held = 0
            if self._fs.getsize(self._path) > self._size:
                self._fs.ftruncate(self._fd, self._size)
