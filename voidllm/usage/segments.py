"""Names and places of journal segments, and reading them back."""

from __future__ import annotations

import os
import re
from typing import Iterator, Mapping

from attrs import frozen

from voidllm.core.usage import UsageEvent
from voidllm.core.world import FileSystem
from voidllm.usage.codec import decode

#: Rows that the store refused for good, and lines that this version cannot read.
REJECTED = "rejected.jl"

_NAME = re.compile(r"\A(?P<box>.+)-(?P<worker>\d+)-(?P<boot>[^-]+)-(?P<seq>\d{8,})\.jl\Z")
_READ = 256 * 1024


@frozen(order=True)
class Segment:
    """One file of the journal; ordered by writer, then by age.

    :ivar worker: which worker of the box wrote it, from 0.
    :ivar boot: names one life of that worker; holds no ``-``.
    :ivar seq: grows by one with every segment of that life.
    """

    box: str
    worker: int
    boot: str
    seq: int

    @property
    def name(self) -> str:
        """The file name, which also names the segment in the store."""
        return f"{self.box}-{self.worker}-{self.boot}-{self.seq:08d}.jl"

    @property
    def writer(self) -> tuple[int, str]:
        """Whose segment it is, within the box."""
        return self.worker, self.boot


def parse(name: str) -> Segment | None:
    """Read a file name; ``None`` if it does not name a segment."""
    match = _NAME.match(name)
    if match is None:
        return None
    return Segment(match["box"], int(match["worker"]), match["boot"], int(match["seq"]))


def folder(state_dir: str) -> str:
    """Give the path of the journal's folder."""
    return os.path.join(state_dir, "journal")


def scan(fs: FileSystem, path: str) -> dict[Segment, int]:
    """Give every segment in the folder ``path`` with its size in bytes, in order.

    Blocking. A segment that goes away meanwhile is left out; no folder is no segments.
    """
    try:
        names = fs.listdir(path)
    except FileNotFoundError:
        return {}
    found = sorted(segment for name in names if (segment := parse(name)) is not None)
    sizes = {}
    for segment in found:
        try:
            sizes[segment] = fs.getsize(os.path.join(path, segment.name))
        except FileNotFoundError:
            continue
    return sizes


def read(fs: FileSystem, path: str, offset: int, size: int) -> bytes:
    """Give at most ``size`` bytes of the file ``path`` from ``offset``; blocking."""
    fd = fs.open(path, os.O_RDONLY)
    try:
        return fs.pread(fd, size, offset)
    finally:
        fs.close(fd)


def pending_events(
    fs: FileSystem, state_dir: str, box: str, progress: Mapping[str, int]
) -> Iterator[UsageEvent]:
    """Go through the events of ``box`` that the store has not got yet; blocking.

    For rebuilding day and month counts at start, before anything is appended or committed.

    :param progress: segment name to committed bytes, as the store knows it.
    """
    where = folder(state_dir)
    for segment in scan(fs, where):
        if segment.box != box:
            continue
        path = os.path.join(where, segment.name)
        offset = progress.get(segment.name, 0)
        while True:
            decoded = decode(read(fs, path, offset, _READ))
            for record in decoded.records:
                yield record.event
            if decoded.consumed == 0:
                break
            offset += decoded.consumed
