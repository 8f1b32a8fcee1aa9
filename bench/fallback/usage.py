"""What the kernel charges processes, taken at both ends of a window."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field


@define
class Watch:
    """CPU seconds of all living threads of other processes, of this one, and memory."""

    pids: Sequence[int]
    _cpu_s: list[list[float]] = field(factory=list)
    _own_s: list[float] = field(factory=list)

    def look(self) -> None:
        """Take the figures at the start of the window, then at its end."""
        self._cpu_s.append([_cpu_s(pid) for pid in self.pids])
        self._own_s.append(time.process_time())

    def told(self) -> dict[str, object]:
        """Give the figures under the names that the generator prints."""
        first, last = self._cpu_s
        spent = [max(0.0, b - a) for a, b in zip(first, last, strict=True)]
        memory = [_rss_kb(pid) for pid in self.pids]
        return {
            "watched_cpu_s": spent,
            "watched_rss_kb": memory,
            "cpu_s": self._own_s[1] - self._own_s[0],
        }


def _cpu_s(pid: int) -> float:
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(file.read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def _rss_kb(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize() // 1024
