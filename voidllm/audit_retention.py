"""Drops entries of the audit log that are older than they are to be kept, without breaking its chain."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.task import deferLater

from voidllm.core.world import World
from voidllm.store import audit_verify

#: Between two pieces, in which others write.
_PAUSE_S = 0.02


async def drop_old_entries(world: World, store: Any, keep_ms: Callable[[], int], now_ms: int) -> None:
    """Drop what is older than ``keep_ms()`` milliseconds, a piece at a time; nothing if that is 0.

    :raises StoreError: if the database cannot be used; the rest goes next time.
    """
    kept_ms = keep_ms()
    if not kept_ms:
        return
    while await store.write(audit_verify.drop_before, now_ms - kept_ms):
        await deferLater(world.reactor, _PAUSE_S)
