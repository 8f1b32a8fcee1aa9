"""A process that appends to a journal until it is killed: ``appender STATE_DIR BOOT``.

Prints each event's number once ``append`` has returned.
"""

from __future__ import annotations

import itertools
import os
import sys

from twisted.internet.task import Clock

from tests.usage.events import event
from tests.usage.memoryfs import at_once
from voidllm.core.world import World
from voidllm.usage.journal import Journal
from voidllm.usage.settings import UsageSettings


def main() -> None:
    """Append for ever."""
    state_dir, boot, first = sys.argv[1:]
    settings = UsageSettings(reserve_bytes=0, segment_bytes=64 * 1024)
    journal = Journal(World(reactor=Clock(), in_thread=at_once), state_dir, "box", 0, boot, settings)
    journal.start()
    for number in itertools.count(int(first)):
        journal.append(event(number))
        os.write(1, b"%d\n" % number)


if __name__ == "__main__":
    main()
