"""How a port is emptied, in whichever process it is."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from voidllm.core.world import World
from voidllm.dataplane import DataPlane

# After the last in-band error event: time for it to reach the sockets.
_FLUSH_S = 1.0


class Patience:
    """How long what runs may take, which may become shorter while somebody waits.

    :param seconds: from now.
    """

    def __init__(self, world: World, seconds: float) -> None:
        self._world = world
        self._until_s = world.reactor.seconds() + seconds
        self._timer: Any = None

    def shorten(self, seconds: float) -> None:
        """End no later than so many seconds from now."""
        now_s = self._world.reactor.seconds()
        if now_s + seconds < self._until_s:
            self._until_s = now_s + seconds
            if self._timer is not None and self._timer.active():
                self._timer.reset(seconds)

    async def wait(self, deferred: Deferred[Any]) -> None:
        """Wait for ``deferred``, which never fails, but not beyond the end."""
        both: Deferred[None] = Deferred()

        def first(_: Any = None) -> None:
            if not both.called:
                both.callback(None)

        left_s = max(0.0, self._until_s - self._world.reactor.seconds())
        self._timer = self._world.reactor.callLater(left_s, first)
        deferred.addBoth(first)
        await both
        if self._timer.active():
            self._timer.cancel()


async def end_replies(world: World, plane: DataPlane, front: Any, port: Any, patience: Patience) -> None:
    """Let what runs end, then cut what still does, then close the port.

    :param front: a front or a Site, see :class:`~voidllm.http.population.Populated`.
    :param port: what listens, or ``None``.
    :param patience: how long what runs may take.
    """
    plane.drain()
    front.drain()
    await patience.wait(front.drained())
    plane.cut()
    await Patience(world, _FLUSH_S).wait(front.drained())
    if port is not None:
        # It gives nothing if somebody stopped it before.
        await maybeDeferred(port.stopListening)
    front.abort_all()
