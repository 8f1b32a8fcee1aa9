"""The half of a gateway that answers requests; one in every process that has a port."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.crypto import KeyDigester
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.door import Door
from voidllm.gate.gate import Gate
from voidllm.gate.metrics import GateMetrics
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.handler import ProxyHandler
from voidllm.proxy.metrics import ProxyMetrics
from voidllm.proxy.settings import ProxySettings
from voidllm.proxy.sweeper import StreamSweeper
from voidllm.routing.planner import InOrderPlanner
from voidllm.upstreams import Upstreams
from voidllm.usage.journal import Journal

_log = Logger()
_GOODBYE_S = 2.0


class DataPlaneMetrics(GateMetrics, ProxyMetrics, Protocol):
    """What the data plane counts."""


class DataPlane:
    """Composes what stands between a port and the upstreams.

    :param upstreams: see :class:`Upstreams`.
    :param metrics: where everything is counted.
    :ivar door: the message handler for every front; says 503 until :meth:`open`.
    :ivar holder: whoever builds or receives snapshots puts them here.
    :ivar journal: where usage rows go, once it is open.
    """

    def __init__(self, world: World, upstreams: Upstreams, metrics: DataPlaneMetrics) -> None:
        self.world = world
        self.door = Door()
        self.holder = SnapshotHolder()
        self.journal: Journal | None = None
        self.gate: Gate | None = None
        self._upstreams = upstreams
        self._metrics = metrics
        self._handler: ProxyHandler | None = None
        self._core: ProxyCore | None = None
        self._draining = False

    @property
    def busy(self) -> bool:
        """Whether requests are being answered."""
        return self.gate is not None and self.gate.in_flight > 0

    def open(self, limiter: Any, journal: Journal, digester: KeyDigester, settings: ProxySettings) -> None:
        """Answer requests from now on, by the holder's snapshots.

        :param limiter: an ``ILimiter``.
        :param journal: started; closed with this.
        """
        gate = Gate(self.world, self.holder, limiter, journal, digester, self._metrics)
        gate.draining = self._draining
        core = ProxyCore(
            world=self.world,
            gate=gate,
            planner=InOrderPlanner(),
            pool=self._upstreams.buffered,
            stream_pool=self._upstreams.streaming,
            in_process=self._upstreams.in_process,
            metrics=self._metrics,
            settings=settings,
            sweeper=StreamSweeper(self.world.reactor),
        )
        self._subscribe(core)
        self.journal, self.gate, self._core = journal, gate, core
        self._handler = ProxyHandler(core, self.holder)
        self.door.target = self._handler

    def _subscribe(self, core: ProxyCore) -> None:
        models = self.holder.current.models

        def changed(snapshot: Snapshot) -> None:
            nonlocal models
            # Keys change often, and say nothing about where models are.
            if snapshot.models is not models:
                models = snapshot.models
                core.forget_routes()

        self.holder.subscribe(changed)

    def reload(self, settings: ProxySettings) -> None:
        """Go by other settings from the next request on."""
        if self._core is not None:
            self._core.settings = settings

    def drain(self) -> None:
        """Admit nothing from now on."""
        self._draining = True
        if self.gate is not None:
            self.gate.draining = True

    def cut(self) -> None:
        """End every running exchange now, each with its usage row."""
        if self._handler is not None:
            self._handler.shut_down()

    async def close(self) -> None:
        """Close everything; what was used is in the journal."""
        self.drain()
        self.cut()
        goodbye: Deferred[Any] = self._upstreams.pool.close()
        goodbye.addTimeout(_GOODBYE_S, self.world.reactor, onTimeoutCancel=lambda *_: None)
        goodbye.addErrback(lambda failure: _log.failure("upstream connections could not be closed", failure))
        await goodbye
        if self.journal is not None:
            await self.journal.close()
