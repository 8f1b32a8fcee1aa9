"""A process that asks a shared limiter for as much as it can get; ``hammer TABLE COUNTS COLUMN SCOPES``.

It reads moments (Unix milliseconds) from its input, one a line. From each it asks again and again
until it was refused for a while, and answers with a line. What it was admitted it counts in memory
that its parent reads, so that it can be killed.
"""

from __future__ import annotations

import mmap
import sys
import time

from tests.limits.rig import hammered
from voidllm.core.errors import Refusal
from voidllm.limits.shared import SharedLimiter, SharedTable

_ENOUGH = 50


def main(table_fd: int, counts_fd: int, column: int, cap: int) -> None:
    """Hammer until the input ends."""
    limiter = SharedLimiter(SharedTable.attach(table_fd), column)
    counts = memoryview(mmap.mmap(counts_fd, mmap.PAGESIZE)).cast("q")
    scopes = hammered(cap)
    print("ready", flush=True)
    for line in sys.stdin:
        now_ms, start_s = line.split()
        while time.monotonic() < float(start_s):
            pass
        refused = 0
        while refused < _ENOUGH:
            try:
                limiter.reserve(scopes, 3, int(now_ms))
            except Refusal:
                refused += 1
            else:
                refused = 0
                counts[column] += 1
        print("done", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
