"""Pauses of the garbage collector in other processes.

A copy of this file is put where a gateway and its workers find it as ``sitecustomize``: then each of them
notes its pauses of a millisecond and more. So it imports nothing but the standard library.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from pathlib import Path
from typing import Mapping

_FOLDER = "BENCH_GC_LOG"


def watched(folder: Path, python_path: str) -> Mapping[str, str]:
    """Give what a process needs in its environment to note its pauses in ``folder``."""
    folder.mkdir(exist_ok=True)
    shutil.copy(__file__, folder / "sitecustomize.py")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{python_path}", _FOLDER: str(folder)}


def worst_ms(folder: Path, pid: int, since_s: float) -> float:
    """Give the longest pause of a process since a moment of the monotonic clock, in its own CPU time.

    Less than a millisecond is 0.
    """
    file = folder / str(pid)
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return max((float(cpu_ms) for at_s, cpu_ms in lines if float(at_s) >= since_s), default=0.0)


def _watch(folder: str) -> None:
    # Open until the process ends, and unbuffered, because workers end without a word.
    file = open(os.path.join(folder, str(os.getpid())), "ab", buffering=0)  # noqa: SIM115
    used = 0.0

    def noted(phase: str, info: Mapping[str, int]) -> None:
        nonlocal used
        # Of the thread: what others on the machine took from it is no pause of the collector's.
        now = time.thread_time()
        if phase == "start":
            used = now
        elif now - used > 0.001:
            file.write(b"%.6f %.3f\n" % (time.monotonic(), (now - used) * 1000))

    gc.callbacks.append(noted)


if __name__ == "sitecustomize" and _FOLDER in os.environ:
    _watch(os.environ[_FOLDER])
