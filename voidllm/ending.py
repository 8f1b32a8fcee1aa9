"""How a port is emptied, in whichever process it is."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from voidllm.core.world import World
from voidllm.dataplane import DataPlane

# After the last in-band error event: time for it to reach the sockets.
_FLUSH_S = 1.0


async def end_replies(world: World, plane: DataPlane, front: Any, port: Any, patience_s: float) -> None:
    """Let what runs end, then cut what still does, then close the port.

    :param front: a front or a Site, see :class:`~voidllm.http.population.Populated`.
    :param port: what listens, or ``None``.
    :param patience_s: how long what runs may take.
    """
    plane.drain()
    front.drain()
    await _within(front.drained(), patience_s, world)
    plane.cut()
    await _within(front.drained(), _FLUSH_S, world)
    if port is not None:
        await port.stopListening()
    front.abort_all()


async def _within(deferred: Deferred[Any], seconds: float, world: World) -> None:
    """Wait for ``deferred``, which never fails, but no longer than ``seconds``."""
    timer: Deferred[Any] = deferLater(world.reactor, seconds)
    timer.addErrback(lambda _: None)
    both: Deferred[Any] = Deferred()

    def first(_: Any) -> None:
        if not both.called:
            both.callback(None)

    deferred.addBoth(first)
    timer.addCallback(first)
    await both
    timer.cancel()
