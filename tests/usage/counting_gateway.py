"""A process with journal, batcher and SQLite until it is killed: ``counting_gateway STATE_DIR BOOT FIRST``.

Prints each event's number once ``append`` has returned. With ``FIRST`` = ``drain`` it only drains.
"""

from __future__ import annotations

import os
import sys

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.usage.events import event
from voidllm.core.world import World
from voidllm.store.sqlite import SQLiteStore
from voidllm.usage.batcher import UsageBatcher, UsageCounters
from voidllm.usage.journal import Journal
from voidllm.usage.settings import UsageSettings


async def run(state_dir: str, boot: str, first: str) -> None:
    """Append and commit, or drain."""
    world = World(reactor=reactor, in_thread=deferToThread)
    settings = UsageSettings(
        reserve_bytes=1 << 20, segment_bytes=32 * 1024, flush_seconds=0.02, batch_rows=50
    )
    journal = Journal(world, state_dir, "box", 0, boot, settings)
    await journal.start()
    store = SQLiteStore(world, os.path.join(state_dir, "store.db"))
    await store.start()
    batcher = UsageBatcher(
        world,
        store,
        state_dir,
        "box",
        settings,
        UsageCounters(),
        live_writers=lambda: [] if journal.closed else [journal.writer],
    )
    journal.on_sealed.append(batcher.segment_sealed)
    batcher.startService()
    if first == "drain":
        await journal.close()
        await batcher.stopService()
        await store.stop()
        return
    number = int(first)

    def some() -> None:
        nonlocal number
        for _ in range(20):
            journal.append(event(number))
            os.write(1, b"%d\n" % number)
            number += 1

    await task.LoopingCall(some).start(0)


def main(chosen: object, *args: str) -> Deferred[None]:
    """Run until done."""
    return Deferred.fromCoroutine(run(*args))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
