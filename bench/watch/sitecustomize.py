"""Notes each pause of the garbage collector; found by a gateway and its workers through ``PYTHONPATH``."""

from __future__ import annotations

import gc
import os
import time


def _watch(folder: str) -> None:
    # Open until the process ends, and unbuffered, because workers end without a word.
    file = open(os.path.join(folder, str(os.getpid())), "ab", buffering=0)  # noqa: SIM115
    begun = used = 0.0

    def noted(phase: str, info: dict[str, int]) -> None:
        nonlocal begun, used
        now, cpu = time.monotonic(), time.thread_time()
        if phase == "start":
            begun, used = now, cpu
        elif now - begun > 0.001:
            # What others on the machine took from it is in the first number only.
            passed = ((now - begun) * 1000, (cpu - used) * 1000)
            file.write(b"%.6f %.3f %.3f %d\n" % (now, *passed, info["generation"]))

    gc.callbacks.append(noted)


if os.environ.get("BENCH_GC_LOG"):
    _watch(os.environ["BENCH_GC_LOG"])
