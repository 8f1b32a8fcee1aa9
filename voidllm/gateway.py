"""One whole gateway in one world: what belongs together, how it starts and how it ends."""

from __future__ import annotations

import os
from typing import Any, Callable

from attrs import define
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voidllm.admin.app import AdminContext
from voidllm.bootstrap import FirstCredentials, bootstrap, box_id
from voidllm.config import Config
from voidllm.config.catalogue import build_models, global_aliases
from voidllm.core.crypto import API_KEY_INFO, KeyDigester, derive, key_check_value, load_or_create_key
from voidllm.core.errors import StateError, StoreBusy, StoreTimeout, StoreUnavailable
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.door import Door
from voidllm.gate.gate import Gate
from voidllm.limits.ledger import MemoryLimiter
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.handler import ProxyHandler
from voidllm.proxy.inprocess import InProcessPool
from voidllm.proxy.settings import ProxySettings
from voidllm.proxy.sweeper import StreamSweeper
from voidllm.routing.planner import InOrderPlanner
from voidllm.snapshots import Catalogue, SnapshotPublisher
from voidllm.store import open_store
from voidllm.telemetry.metrics import Metrics
from voidllm.usage.batcher import UsageBatcher, UsageCounters
from voidllm.usage.journal import Journal
from voidllm.usage.prices import PriceBook
from voidllm.usage.segments import pending_events
from voidllm.usage.settings import UsageSettings

_log = Logger()
_META_KEY = "encryption_key_check"
_DAY_MS = 86_400_000
_AWAY = (StoreUnavailable, StoreTimeout, StoreBusy)
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_GOODBYE_S = 2.0


@define
class Upstreams:
    """The three ways to carry a call; each provides ``IUpstreamPool``."""

    buffered: Any
    streaming: Any
    in_process: Any


class Gateway:
    """Composes the data plane and the control plane of one process.

    :param config: frozen configuration.
    :param upstreams: see :class:`Upstreams`.
    :param metrics: where everything is counted.
    :param announce: called once with the first credentials, if this start made them.
    :param collect: called after each full snapshot build, see ``SnapshotPublisher``.
    :ivar door: the message handler for every front; says 503 until the gateway is open.
    :ivar state: ``starting``, ``ready`` or ``draining``.
    """

    def __init__(
        self,
        world: World,
        config: Config,
        upstreams: Upstreams,
        metrics: Metrics,
        announce: Callable[[FirstCredentials], None],
        collect: Callable[[], None] = lambda: None,
    ) -> None:
        self.world = world
        self.config = config
        self.metrics = metrics
        self.door = Door()
        self.state = "starting"
        self.holder = SnapshotHolder()
        self.prices = PriceBook(world, config.state_dir)
        self.store = open_store(world, config.database.driver, config.database.dsn, **_store_options(config))
        self.counters = UsageCounters()
        self.gate: Gate | None = None
        self.journal: Journal | None = None
        self.batcher: UsageBatcher | None = None
        self.digester: KeyDigester | None = None
        self._upstreams = upstreams
        self._announce = announce
        self._collect = collect
        self._publisher: SnapshotPublisher | None = None
        self._handler: ProxyHandler | None = None
        self._core: ProxyCore | None = None
        self._stopping = False

    # -- start

    async def open(self) -> None:
        """Come up, however long the database takes; the door opens at the end.

        :raises StateError: if the state folder or the store can never be used like this.
        """
        world, state_dir = self.world, self.config.state_dir
        await world.in_thread(world.fs.makedirs, state_dir, 0o700)
        attempt = 0
        while not self._stopping:
            try:
                await self.store.start()
                key = await self._unlock()
                break
            except _AWAY as problem:
                delay_s = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
                attempt += 1
                _log.warn(
                    "the database cannot be used yet ({problem}); next try in {delay} s",
                    problem=type(problem).__name__,
                    delay=delay_s,
                )
                await deferLater(world.reactor, delay_s)
        if self._stopping:
            return
        self.digester = KeyDigester(derive(key, API_KEY_INFO))
        await self._seed(key)
        box = await world.in_thread(box_id, world, state_dir)
        await self._open_usage(box)
        self.prices.on_ready.append(self._catalogue_changed)
        self._owned(self.prices.load(), "prices could not be loaded")
        self._publisher = SnapshotPublisher(world, self.store, self.holder, self._catalogue(), self._collect)
        await self._publisher.start()
        await self._open_data_plane(box)
        self.state = "ready"

    async def _unlock(self) -> bytes:
        """Find the encryption key and make sure that it is this store's."""
        configured = self.config.settings.encryption_key or None
        empty = await self.store.is_empty()
        key: bytes = await self.world.in_thread(
            load_or_create_key, self.world, self.config.state_dir, configured, empty
        )
        known = await self.store.meta_get(_META_KEY)
        if known is not None and known != key_check_value(key):
            raise StateError(
                "this encryption key is not the one that the database was made with; "
                "restore <state_dir>/encryption.key or settings.encryption_key as it was"
            )
        return key

    async def _seed(self, key: bytes) -> None:
        assert self.digester is not None
        seed = self.config.settings.bootstrap
        first = await bootstrap(
            self.world,
            self.store,
            self.digester,
            org_name=seed.org_name,
            org_slug=seed.org_slug or "",
            admin_email=seed.admin_email,
            meta=((_META_KEY, key_check_value(key)),),
            state_dir=self.config.state_dir,
        )
        if first is not None:
            self._announce(first)

    async def _open_usage(self, box: str) -> None:
        world, state_dir = self.world, self.config.state_dir
        settings = usage_settings(self.config)
        boot = f"{world.wall_ms():x}{world.random_bytes(4).hex()}"
        journal = Journal(world, state_dir, box, 0, boot, settings)
        await journal.start()
        batcher = UsageBatcher(
            world,
            self.store,
            state_dir,
            box,
            settings,
            self.counters,
            live_writers=lambda: [] if journal.closed else [journal.writer],
        )
        journal.on_sealed.append(batcher.segment_sealed)
        self.journal, self.batcher = journal, batcher

    async def _open_data_plane(self, box: str) -> None:
        world, config = self.world, self.config
        assert self.journal is not None and self.batcher is not None and self.digester is not None
        limiter = MemoryLimiter()
        await self._recount(limiter, box)
        self.batcher.startService()
        self.gate = Gate(world, self.holder, limiter, self.journal, self.digester, self.metrics)
        core = ProxyCore(
            world=world,
            gate=self.gate,
            planner=InOrderPlanner(),
            pool=self._upstreams.buffered,
            stream_pool=self._upstreams.streaming,
            in_process=self._upstreams.in_process,
            metrics=self.metrics,
            settings=proxy_settings(config),
            sweeper=StreamSweeper(world.reactor),
        )
        self.holder.subscribe(lambda _: core.forget_routes())
        self._core = core
        self._handler = ProxyHandler(core, self.holder)
        self.door.target = self._handler

    async def _recount(self, limiter: MemoryLimiter, box: str) -> None:
        """Seed day and month counts: the store's sums, and what only the journal knows yet."""
        now_ms = self.world.wall_ms()
        day_ms = now_ms - now_ms % _DAY_MS
        sums = await self.store.usage_since(day_ms, _month_start_ms(now_ms))
        progress = await self.store.journal_progress()
        wanted = frozenset(
            (scope.kind, scope.id)
            for principal in self.holder.current.keys.values()
            for scope in principal.counted
        )
        events = await self.world.in_thread(
            lambda: list(pending_events(self.world.fs, self.config.state_dir, box, progress))
        )
        limiter.rebuild(sums, now_ms, events, wanted)

    # -- while it runs

    def reload(self, config: Config) -> None:
        """Take over what of a new configuration can be taken over at run time."""
        self.config = config
        if self._core is not None:
            self._core.settings = proxy_settings(config)
        self._catalogue_changed()

    def admin_context(self) -> AdminContext:
        """Give the admin application what it works on; only once the gateway is open."""
        assert self.batcher is not None and self.digester is not None
        return AdminContext(
            world=self.world,
            store=self.store,
            digester=self.digester,
            snapshots=self.holder,
            flush=self.batcher.flush,
            config_view=lambda: self.config.redacted(),
        )

    def _catalogue(self) -> Catalogue:
        return Catalogue(build_models(self.config, self.prices.price_for), global_aliases(self.config))

    def _catalogue_changed(self) -> None:
        if self._publisher is not None:
            self._publisher.replace_catalogue(self._catalogue())

    def _owned(self, deferred: Deferred[Any], what: str) -> None:
        deferred.addErrback(lambda failure: _log.failure(what, failure))

    # -- the end

    def drain(self) -> None:
        """Admit nothing from now on."""
        self.state = "draining"
        self._stopping = True
        if self.gate is not None:
            self.gate.draining = True

    def cut(self) -> None:
        """End every running exchange now, each with its usage row."""
        if self._handler is not None:
            self._handler.shut_down()

    async def close(self) -> None:
        """Close everything; what was used is in the store, or in the journal for the next start."""
        self.drain()
        self.cut()
        if self._publisher is not None:
            self._publisher.stop()
        pools = [pool.close() for pool in (self._upstreams.buffered, self._upstreams.in_process)]
        goodbye: DeferredList = gatherResults(pools, consumeErrors=True)  # type: ignore[assignment]
        goodbye.addTimeout(_GOODBYE_S, self.world.reactor, onTimeoutCancel=lambda *_: None)
        self._owned(goodbye, "upstream connections could not be closed")
        await goodbye
        if self.journal is not None:
            await self.journal.close()
        if self.batcher is not None and self.batcher.running:
            await self.batcher.stopService()
        await self.store.stop()


def _month_start_ms(now_ms: int) -> int:
    from datetime import UTC, datetime

    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1000)


def _store_options(config: Config) -> dict[str, Any]:
    return {}


def usage_settings(config: Config) -> UsageSettings:
    """Translate configuration for the usage pipeline."""
    return UsageSettings(
        reserve_bytes=config.usage.reserve_mb << 20,
        fsync=config.usage.fsync,
        flush_seconds=config.settings.usage.flush_interval / 1000,
    )


def proxy_settings(config: Config) -> ProxySettings:
    """Translate configuration for the proxy; durations are milliseconds there, seconds here."""
    proxy, stream, upstream = config.server.proxy, config.stream, config.upstream
    return ProxySettings(
        spool_dir=config.state_dir,
        max_request_body=proxy.max_request_body,
        max_response_body=proxy.max_response_body,
        connect_timeout_s=upstream.connect_timeout / 1000,
        head_timeout_s=upstream.head_timeout / 1000,
        idle_timeout_s=stream.idle_timeout / 1000,
        commit_after_s=stream.commit_after / 1000,
        keepalive_s=stream.keepalive / 1000,
        first_token_timeout_s=_seconds(stream.first_token_timeout),
        max_stream_duration_s=_seconds(proxy.max_stream_duration),
    )


def _seconds(duration_ms: int | None) -> float | None:
    return None if not duration_ms else duration_ms / 1000


__all__ = ["Gateway", "InProcessPool", "Upstreams", "os", "proxy_settings", "usage_settings"]
