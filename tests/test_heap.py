"""What the process keeps of the memory that it gave back."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from voidllm.heap import keep_freed

_COUNT = """
import resource, sys
from voidllm.heap import keep_freed
if sys.argv[1] == "keep":
    assert keep_freed()
def work():
    body = b"x" * 1_000_000
    for _ in range(20):
        copies = [body + b"y" for _ in range(3)]
        del copies
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
before = faults()
work()
print(faults() - before)
"""


class KeepFreedTests(SynchronousTestCase):
    """:func:`keep_freed`."""

    def test_pages_are_used_again(self) -> None:
        """What large bodies were held in is not asked of the kernel again, as it is by default."""
        found = {}
        for word in ("keep", "leave"):
            command = [sys.executable, "-c", _COUNT, word]
            found[word] = int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        self.assertLess(found["keep"], 100)
        self.assertGreater(found["leave"], 10 * found["keep"] + 1000)

    def test_another_library(self) -> None:
        """A C library that knows no such thing is left alone."""
        self.assertFalse(keep_freed(object()))
