"""One whole gateway in one world: what belongs together, how it starts and how it ends."""

from __future__ import annotations

from functools import partial
from typing import Any, Awaitable, Callable, Collection, Mapping, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voidllm.admin.app import AdminContext
from voidllm.audit_retention import drop_old_entries
from voidllm.auth.passwords import Passwords
from voidllm.auth.sessions import SessionRules
from voidllm.bootstrap import (
    FirstCredentials,
    bootstrap,
    box_id,
    check_first_password,
    forget_first_password,
)
from voidllm.config import Config, build_models, global_aliases, join
from voidllm.core.crypto import KEY_BYTES, KeyDigester, key_check_value
from voidllm.core.errors import StateError, StateInUse, StoreBusy, StoreTimeout, StoreUnavailable
from voidllm.core.keyfile import configured_keys
from voidllm.core.keyring import Keyring
from voidllm.core.principal import Limits, Scope
from voidllm.core.world import World
from voidllm.dataplane import DataPlane, DataPlaneMetrics
from voidllm.following import retry_s
from voidllm.http.clientaddr import TrustedProxies
from voidllm.limits.ledger import MemoryLimiter
from voidllm.limits.recount import counted_scopes
from voidllm.limits.windows import DAY_MS, month_of, month_start_ms
from voidllm.presence import Presence
from voidllm.retention import Retention
from voidllm.snapshots import Catalogue, Garbage, SnapshotPublisher
from voidllm.statelock import take
from voidllm.store import open_store
from voidllm.store.sealed import DIGEST_KEY, KEY_CHECK
from voidllm.stored_models import StoredModels
from voidllm.unlocking import digest_key, find_keyring, seal_digest_key
from voidllm.upstreams import Upstreams
from voidllm.usage.batcher import UsageBatcher, UsageCounters
from voidllm.usage.journal import Journal
from voidllm.usage.prices import PriceBook
from voidllm.usage.reserve import give_back
from voidllm.usage.segments import folder, pending_events
from voidllm.wiring import price_of, proxy_settings, retention_settings, store_arguments, usage_settings

T = TypeVar("T")

_log = Logger()
_AWAY = (StoreUnavailable, StoreTimeout, StoreBusy)
# Commands on a stopped gateway hold its store for less than a second.
_IN_USE_S = 5.0


class _Stopping(Exception):
    """The gateway was asked to stop before it was open."""


class Fleet(Protocol):
    """The processes that answer requests besides this one.

    :ivar limiter: what this process decides limits with; seeded before :meth:`open`.
    :ivar cells: gives each limited scope its place in shared memory, see ``build_snapshot``.
    :ivar size: how many they are.
    """

    limiter: Any
    cells: Callable[[str, str], int] | None
    size: int

    def roster(self) -> list[dict[str, Any]]:
        """Describe each of them for people."""

    async def begin(self, lock_fd: int) -> None:
        """Start them; they have a port, but say that the gateway is starting.

        :param lock_fd: descriptor of the state folder's lock, for them to inherit.
        """

    def writers(self) -> Collection[tuple[int, str]]:
        """Name ``(worker, boot)`` of every journal writer that may still append."""

    async def open(self, box: str, digest_key: bytes, sealed: Callable[[str], None]) -> None:
        """Let them answer requests; returns once they do.

        :param sealed: to be called with the name of each journal segment that is complete.
        """


class Alone:
    """No fleet: the one process decides everything in its own memory."""

    cells = None
    size = 0

    def __init__(self) -> None:
        self.limiter = MemoryLimiter()

    def roster(self) -> list[dict[str, Any]]:
        """Describe nobody."""
        return []

    async def begin(self, lock_fd: int) -> None:
        """Do nothing."""

    def writers(self) -> Collection[tuple[int, str]]:
        """Name nobody."""
        return ()

    async def open(self, box: str, digest_key: bytes, sealed: Callable[[str], None]) -> None:
        """Do nothing."""


class Gateway:
    """Composes the control plane and this process' data plane.

    :param config: frozen configuration.
    :param upstreams: see :class:`Upstreams`.
    :param metrics: where everything is counted.
    :param environ: where outbound proxies are looked up that the configuration does not name.
    :param announce: called once with the first credentials, if this start made them.
    :param garbage: see ``SnapshotPublisher``.
    :param fleet: the other processes, if there are any.
    :ivar plane: this process' data plane; its door is the message handler for every front.
    :ivar state: ``starting``, ``ready`` or ``draining``.
    """

    def __init__(
        self,
        world: World,
        config: Config,
        upstreams: Upstreams,
        metrics: DataPlaneMetrics,
        announce: Callable[[FirstCredentials], None],
        environ: Mapping[str, str],
        garbage: Garbage | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        self.world = world
        self.config = config
        self.plane = DataPlane(world, upstreams, metrics)
        self.holder = self.plane.holder
        self.state = "starting"
        self._began_s = world.reactor.seconds()
        self.prices = PriceBook(world, config.state_dir)
        driver, dsn, options = store_arguments(config)
        self.store = open_store(world, driver, dsn, **options)
        self.counters = UsageCounters()
        self.batcher: UsageBatcher | None = None
        self.retention = Retention(
            world,
            self.store,
            lambda: retention_settings(self.config),
            (partial(drop_old_entries, world, self.store, self._audit_kept_ms),),
        )
        self.digester: KeyDigester | None = None
        self.keyring = Keyring()
        self._passwords = Passwords(world)
        self._fleet = fleet or Alone()
        self._announce = announce
        self._environ = environ
        self._garbage = garbage
        self._publisher: SnapshotPublisher | None = None
        self._stored: StoredModels | None = None
        self._presence: Presence | None = None
        self._box = ""
        self._stopping = False
        self._lock_fd = -1

    # -- start

    async def open(self) -> None:
        """Come up, however long the database takes; the door opens at the end.

        :raises StateError: if the state folder or the store can never be used like this.
        """
        world, state_dir = self.world, self.config.state_dir
        try:
            await world.in_thread(world.fs.makedirs, state_dir, 0o700)
        except OSError as error:
            raise StateError(
                f"the state folder {state_dir} cannot be made ({error.strerror}); "
                "state_dir must be a folder that the gateway's user may write to"
            ) from None
        try:
            self._lock_fd = await self._with_store(self._lock)
            await self._fleet.begin(self._lock_fd)
            await self._with_store(self.store.start)
            self.keyring = await self._with_store(self._unlock)
            await self._with_store(self._seed)
            await self._with_store(self._warn_of_first_password)
            digesting = await self._with_store(partial(digest_key, self.store, self.keyring))
            self.digester = KeyDigester(digesting)
            self._box = box = await world.in_thread(box_id, world, state_dir)
            if self.config.database.driver == "postgres":
                self._presence = Presence(world, state_dir, self.store, self.keyring, box)
                await self._with_store(self._presence.start)
            journal = await self._open_usage(box)
            self.prices.on_ready.append(self._catalogue_changed)
            self._owned(self.prices.load(), "prices could not be loaded")
            self._stored = StoredModels(world, state_dir, self.store, self.keyring, self._catalogue_changed)
            await self._with_store(self._stored.start)
            catalogue = self._catalogue()
            self._publisher = SnapshotPublisher(
                world, self.store, self.holder, catalogue, self._garbage, self._fleet.cells
            )
            await self._with_store(self._publisher.start)
            await self._with_store(partial(self._recount, box))
            assert self.batcher is not None
            self.batcher.startService()
            self.retention.startService()
            self.plane.open(self._fleet.limiter, journal, self.digester, proxy_settings(self.config))
            await self._fleet.open(box, digesting, self.batcher.segment_sealed)
            if self._stopping:
                return
        except _Stopping:
            return
        self.state = "ready"

    async def _with_store(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work``, again for as long as the database is away.

        :raises _Stopping: if the gateway is asked to stop meanwhile.
        """
        attempt = 0
        began_s = self.world.reactor.seconds()
        while not self._stopping:
            try:
                done = await work()
                break
            except StateInUse as problem:
                delay_s = min(retry_s(attempt), began_s + _IN_USE_S - self.world.reactor.seconds())
                if delay_s <= 0:
                    raise
                # Not at first: a command may just have looked whether somebody is here.
                if attempt == 1:
                    wait = f"{_IN_USE_S:g}"
                    _log.warn("{problem}; it is given {wait} s to end", problem=str(problem), wait=wait)
            except _AWAY as problem:
                delay_s = retry_s(attempt)
                _log.warn(
                    "the database cannot be used yet ({problem}); next try in {delay} s",
                    problem=str(problem),
                    delay=delay_s,
                )
            attempt += 1
            await deferLater(self.world.reactor, delay_s)
        # Asked again, because the answer may have come after the wish to stop.
        if self._stopping:
            raise _Stopping
        return done

    async def _lock(self) -> int:
        fd: int = await self.world.in_thread(take, self.world.fs, self.config.state_dir)
        return fd

    async def _unlock(self) -> Keyring:
        """Find the encryption keys and make sure that they are this store's."""
        configured = self._configured_keys()
        return await find_keyring(self.world, self.config.state_dir, configured, self.store, may_create=True)

    def _configured_keys(self) -> tuple[bytes, ...]:
        settings = self.config.settings
        return configured_keys(settings.encryption_key, settings.encryption_keys_old)

    async def _seed(self) -> None:
        seed = self.config.settings.bootstrap
        keyring, digesting = self.keyring, self.world.random_bytes(KEY_BYTES)
        first = await bootstrap(
            self.world,
            self.store,
            KeyDigester(digesting),
            org_name=seed.org_name,
            org_slug=seed.org_slug or "",
            admin_email=seed.admin_email,
            meta=(
                (KEY_CHECK, key_check_value(keyring.key(keyring.current))),
                (DIGEST_KEY, seal_digest_key(keyring, digesting)),
            ),
            state_dir=self.config.state_dir,
        )
        if first is not None:
            self._announce(first)

    async def _warn_of_first_password(self) -> None:
        warning = await check_first_password(self.world, self.store, self.config.state_dir)
        if warning is not None:
            _log.warn("{warning}", warning=warning)

    async def _open_usage(self, box: str) -> Journal:
        world, state_dir = self.world, self.config.state_dir
        settings = usage_settings(self.config, self._fleet.size + 1)
        boot = f"{world.wall_ms():x}{world.random_bytes(4).hex()}"
        journal = Journal(world, state_dir, box, 0, boot, settings)
        await journal.start()
        writers = self._fleet.size + 1
        await world.in_thread(give_back, world.fs, folder(state_dir), box, writers)
        batcher = UsageBatcher(
            world,
            self.store,
            state_dir,
            box,
            settings,
            self.counters,
            live_writers=lambda: [*([] if journal.closed else [journal.writer]), *self._fleet.writers()],
        )
        journal.on_sealed.append(batcher.segment_sealed)
        self.batcher = batcher
        return journal

    async def _recount(self, box: str) -> None:
        """Seed day and month counts: the store's sums, and what only the journal knows yet."""
        now_ms = self.world.wall_ms()
        day_ms = now_ms - now_ms % DAY_MS
        sums = await self.store.usage_since(day_ms, month_start_ms(month_of(now_ms // DAY_MS)))
        progress = await self.store.journal_progress()
        wanted = counted_scopes(self.holder.current.keys.values())
        events = await self.world.in_thread(
            lambda: list(pending_events(self.world.fs, self.config.state_dir, box, progress))
        )
        self._fleet.limiter.rebuild(sums, now_ms, events, wanted)

    # -- while it runs

    def reload(self, config: Config) -> None:
        """Take over what of a new configuration can be taken over at run time."""
        self.config = config
        self.keyring.know(self._configured_keys())
        if self._stored is not None:
            self._stored.reread()
        self.plane.reload(proxy_settings(config))
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
            config_view=self._config_view,
            config=lambda: self.config,
            environ=self._environ,
            workers=self._fleet.roster,
            began_s=self._began_s,
            secrets=self.keyring,
            box=self._box,
            used=self._used,
            audited=self.config.settings.audit.enabled,
            trusted=TrustedProxies(map(str, self.config.server.trusted_proxies)),
            sessions=self._session_rules(),
            passwords=self._passwords,
            forget_first_password=self._forget_first_password,
        )

    def _used(self, kind: str, id_: str, limits: Limits) -> tuple[int, ...]:
        fleet = self._fleet
        cell = -1 if fleet.cells is None else fleet.cells(kind, id_)
        used: tuple[int, ...] = fleet.limiter.used(Scope(kind, id_, limits, cell), self.world.wall_ms())
        return used

    def _session_rules(self) -> SessionRules:
        sessions = self.config.settings.sessions
        return SessionRules(sessions.idle_timeout, sessions.max_lifetime)

    def _forget_first_password(self) -> Deferred[None]:
        return Deferred.fromCoroutine(forget_first_password(self.world, self.config.state_dir))

    def _audit_kept_ms(self) -> int:
        # A method, because a reload replaces the configuration.
        return int(self.config.settings.retention.audit_logs)

    def _config_view(self) -> dict[str, Any]:
        # A method, because a reload replaces the configuration.
        return self.config.redacted()

    def _catalogue(self) -> Catalogue:
        stored = () if self._stored is None else self._stored.models
        served, _ = join(self.config.models, stored)
        models = build_models(self.config, partial(price_of, self.prices), self._environ, served)
        return Catalogue(models, global_aliases(served))

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
        self.plane.drain()

    def cut(self) -> None:
        """End every running exchange now, each with its usage row."""
        self.plane.cut()

    async def close(self) -> None:
        """Close everything; what was used is in the store, or in the journal for the next start."""
        self.drain()
        if self._publisher is not None:
            self._publisher.stop()
        if self._stored is not None:
            self._stored.stop()
        if self._presence is not None:
            await self._presence.stop()
        if self.retention.running:
            self.retention.stopService()
        await self.plane.close()
        if self.batcher is not None and self.batcher.running:
            await self.batcher.stopService()
        await self.store.stop()
        if self._lock_fd >= 0:
            self.world.fs.close(self._lock_fd)
