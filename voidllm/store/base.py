"""What both stores are: operations run in transactions, and listeners told of changes."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Iterable, Mapping, Sequence, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from voidllm.core.errors import StoreError
from voidllm.core.ids import uuid7
from voidllm.core.principal import Limits
from voidllm.core.usage import UsageEvent
from voidllm.core.usage_line import encode_line
from voidllm.core.world import World
from voidllm.store import (
    access_load,
    audit,
    directory,
    idempotency,
    keys,
    state,
    tenants,
    usage_commit,
    usage_report,
    usage_roll,
)
from voidllm.store.audit import Author, Entry
from voidllm.store.changes import EVERYTHING, Changed, Touched, count, recorded
from voidllm.store.dialect import Dialect
from voidllm.store.pages import Page
from voidllm.store.records import (
    ApiKey,
    Bootstrap,
    KeyChange,
    KeyFilter,
    Member,
    Named,
    NewKey,
    NewSecret,
    Org,
    Remembered,
    ScopeUsage,
    ServiceAccount,
    StoredAccess,
    Team,
    UsageQuery,
    UsageRow,
    User,
)
from voidllm.store.statements import Op, T

Make = Callable[[], Op[T]]
Listener = Callable[[], None]
_R = TypeVar("_R")
ALL_KEYS = KeyFilter()
FIRST_PAGE = Page()
_log = Logger(namespace="voidllm.store")

#: How long rows wait to be added up if there are few; reports add up what waits.
_ROLL_S = 5.0


class SQLStore:
    """The methods of :class:`~voidllm.core.interfaces.IStore` on top of :meth:`_run`."""

    def __init__(self, world: World, dialect: Dialect) -> None:
        self._world = world
        self._dialect = dialect
        self._listeners: list[Listener] = []
        self._announced = 0
        self._unrolled = 0
        self._rolled_s = world.reactor.seconds()

    @property
    def dialect(self) -> Dialect:
        """How the database wants to be spoken to."""
        return self._dialect

    async def _run(self, make: Make[T], *, write: bool, repeatable: bool) -> T:
        """Run an operation in one transaction.

        :param repeatable: running it twice is as good as once, so it may be tried again
            when it is unknown whether it was committed.
        """
        raise NotImplementedError

    # Operations that are handed over

    def read(self, op: Callable[..., Op[T]], *args: Any) -> Deferred[T]:
        return self._read(partial(op, *args))

    def write(self, op: Callable[..., Op[T]], *args: Any) -> Deferred[T]:
        return self._write(partial(op, *args))

    def change(
        self, author: Author | None, op: Callable[..., Op[Changed[T] | None]], *args: Any
    ) -> Deferred[T | None]:
        now_ms = self._world.wall_ms()
        new_id = partial(uuid7, now_ms, self._world.random_bytes)
        make: Make[Any] = partial(recorded, author, now_ms, new_id, partial(op, *args))
        return detached(self._run_counted(make))

    def note(self, entries: Sequence[Entry]) -> Deferred[None]:
        return self._write(partial(audit.append, tuple(entries)))

    # Keys, tenants and what a snapshot is built from

    def is_empty(self) -> Deferred[bool]:
        return self._read(state.is_empty)

    def meta_get(self, name: str) -> Deferred[str | None]:
        return self._read(partial(state.meta_get, name))

    def meta_set(self, name: str, value: str) -> Deferred[None]:
        return self._write(partial(state.meta_set, name, value), repeatable=True)

    def bootstrap(self, seed: Bootstrap, now_ms: int) -> Deferred[bool]:
        return self._change(partial(state.bootstrap, seed, now_ms))

    def load(self, now_ms: int) -> Deferred[StoredAccess]:
        return self._read(partial(access_load.load, now_ms))

    def change_version(self) -> Deferred[int]:
        return self._read(state.change_version)

    def create_key(self, new: NewKey, now_ms: int) -> Deferred[ApiKey]:
        return self._change(partial(keys.create_key, new, now_ms))

    def get_key(self, key_id: str) -> Deferred[ApiKey | None]:
        return self._read(partial(keys.get_key, key_id))

    def list_keys(self, wanted: KeyFilter = ALL_KEYS, page: Page = FIRST_PAGE) -> Deferred[list[ApiKey]]:
        return self._read(partial(keys.list_keys, wanted, page))

    def update_key(self, key_id: str, change: KeyChange, revision: int) -> Deferred[ApiKey | None]:
        return self._change(partial(keys.update_key, key_id, change, revision))

    def revoke_key(self, key_id: str, now_ms: int) -> Deferred[bool]:
        return self._change(partial(keys.revoke_key, key_id, now_ms))

    def rotate_key(
        self, old_id: str, new: NewSecret, grace_until_ms: int, now_ms: int
    ) -> Deferred[ApiKey | None]:
        return self._change(partial(keys.rotate_key, old_id, new, grace_until_ms, now_ms))

    def find_org(self, ref: str | None = None) -> Deferred[Org | None]:
        return self._read(partial(directory.find_org, ref))

    def find_team(self, org_id: str, ref: str) -> Deferred[Team | None]:
        return self._read(partial(directory.find_team, org_id, ref))

    def find_member(self, org_id: str, ref: str | None = None) -> Deferred[Member | None]:
        return self._read(partial(directory.find_member, org_id, ref))

    def find_service_account(self, org_id: str, ref: str) -> Deferred[ServiceAccount | None]:
        return self._read(partial(directory.find_service_account, org_id, ref))

    def named(self, kind: str, ids: Iterable[str]) -> Deferred[dict[str, Named]]:
        return self._read(partial(directory.named, kind, tuple(ids)))

    def create_org(self, org: Org) -> Deferred[Org]:
        return self._change(partial(tenants.create_org, org))

    def create_team(self, team: Team) -> Deferred[Team]:
        return self._change(partial(tenants.create_team, team))

    def create_user(self, user: User, org_id: str | None = None, role: str = "member") -> Deferred[User]:
        return self._change(partial(tenants.create_user, user, org_id, role))

    def create_service_account(self, account: ServiceAccount) -> Deferred[ServiceAccount]:
        return self._change(partial(tenants.create_service_account, account))

    def set_limits(self, kind: str, scope_id: str, limits: Limits) -> Deferred[bool]:
        return self._change(partial(tenants.set_limits, kind, scope_id, limits))

    def set_aliases(self, kind: str, scope_id: str, aliases: Mapping[str, str]) -> Deferred[bool]:
        return self._change(partial(tenants.set_aliases, kind, scope_id, dict(aliases)))

    def set_access(self, kind: str, scope_id: str, models: Iterable[str] | None) -> Deferred[bool]:
        wanted = None if models is None else frozenset(models)
        return self._change(partial(tenants.set_access, kind, scope_id, wanted))

    # Answers that are kept

    def idempotency_begin(
        self, subject: str, name: str, fingerprint: str, now_ms: int, expires_at_ms: int
    ) -> Deferred[Remembered | None]:
        return self._write(partial(idempotency.begin, subject, name, fingerprint, now_ms, expires_at_ms))

    def idempotency_finish(self, subject: str, name: str, status: int, reply: str) -> Deferred[None]:
        return self._write(partial(idempotency.finish, subject, name, status, reply), repeatable=True)

    def idempotency_forget(self, subject: str, name: str) -> Deferred[None]:
        return self._write(partial(idempotency.forget, subject, name), repeatable=True)

    # Usage

    def commit_usage(self, segment: str, end_offset: int, events: Sequence[UsageEvent]) -> Deferred[int]:
        return self.commit_lines(segment, end_offset, [encode_line(event) for event in events])

    def commit_lines(self, segment: str, end_offset: int, lines: Sequence[bytes]) -> Deferred[int]:
        return detached(self._commit_lines(segment, end_offset, lines))

    async def _commit_lines(self, segment: str, end_offset: int, lines: Sequence[bytes]) -> int:
        make = partial(usage_commit.commit_lines, self._dialect, segment, end_offset, lines)
        inserted: int = await self._run(make, write=True, repeatable=True)
        self._unrolled += inserted
        now_s = self._world.reactor.seconds()
        if self._unrolled >= usage_roll.ROWS or (self._unrolled and now_s - self._rolled_s >= _ROLL_S):
            self._unrolled, self._rolled_s = 0, now_s
            try:
                # Here, so that whoever brings more waits for it.
                await self._roll_some()
            except StoreError as problem:
                # The rows are stored: nobody must take them for refused.
                _log.warn("usage is added up later ({problem})", problem=str(problem))
        return inserted

    def make_durable(self) -> Deferred[None]:
        """Nothing to do where every commit is on disk when it is acknowledged."""
        return succeed(None)

    def journal_progress(self) -> Deferred[dict[str, int]]:
        return self._read(usage_commit.journal_progress)

    def forget_segments(self, names: Iterable[str]) -> Deferred[None]:
        return self._write(partial(usage_commit.forget_segments, tuple(names)), repeatable=True)

    def usage_report(self, query: UsageQuery) -> Deferred[list[UsageRow]]:
        asked = query if query.now_ms else evolve(query, now_ms=self._world.wall_ms())
        return detached(self._rolled_up(partial(usage_report.usage_report, asked)))

    def usage_since(self, day_start_ms: int, month_start_ms: int) -> Deferred[list[ScopeUsage]]:
        return detached(self._rolled_up(partial(usage_report.usage_since, day_start_ms, month_start_ms)))

    def roll_up(self) -> Deferred[None]:
        return detached(self._roll_up())

    async def _rolled_up(self, make: Make[T]) -> T:
        await self._roll_up()
        return await self._run(make, write=False, repeatable=True)

    async def _roll_up(self) -> None:
        # A look costs no lock, and mostly nothing waits.
        if await self._run(usage_roll.pending, write=False, repeatable=True):
            while await self._roll_some() >= usage_roll.ROWS:
                pass

    async def _roll_some(self) -> int:
        make = partial(usage_roll.roll, self._dialect, self._world.wall_ms(), usage_roll.ROWS)
        return await self._run(make, write=True, repeatable=True)

    def ping(self) -> Deferred[None]:
        return self._read(state.ping)

    # Listeners

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _announce(self, version: int) -> None:
        """Tell the listeners of ``version``, unless they know of it or of a later one."""
        if version > self._announced:
            self._announced = version
            self._tell()

    def _missed(self) -> None:
        """Tell the listeners that something may have changed unheard; a restored backup, even."""
        self._announced = 0
        self._tell()

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                _log.failure("a listener for changes of the store failed")

    # How operations are run

    def _read(self, make: Make[T]) -> Deferred[T]:
        return detached(self._run(make, write=False, repeatable=True))

    def _write(self, make: Make[T], *, repeatable: bool = False) -> Deferred[T]:
        return detached(self._run(make, write=True, repeatable=repeatable))

    def _change(self, make: Make[T]) -> Deferred[T]:
        return detached(self._run_change(make))

    async def _run_change(self, make: Make[T]) -> T:
        return await self._run_counted(partial(_touching_all, make))

    async def _run_counted(self, make: Make[tuple[T, tuple[Touched, ...] | None]]) -> T:
        result, version = await self._run(
            partial(_counted, self._dialect, make), write=True, repeatable=False
        )
        if version is not None:
            self._announce(version)
        return result


def _touching_all(make: Make[T]) -> Op[tuple[T, tuple[Touched, ...] | None]]:
    """Run an operation that says nothing of what it touches; nothing if it returns ``None`` or ``False``."""
    result = yield from make()
    return result, None if result is None or result is False else (EVERYTHING,)


def _counted(dialect: Dialect, make: Make[tuple[T, tuple[Touched, ...] | None]]) -> Op[tuple[T, int | None]]:
    """Run an operation and count it as a change, unless it touched ``None``."""
    result, touched = yield from make()
    if touched is None:
        return result, None
    version = yield from count(touched)
    announcement = dialect.announce(version)
    if announcement is not None:
        yield announcement
    return result, version


def detached(work: Any) -> Deferred[Any]:
    """Start the coroutine ``work`` and give a Deferred whose cancelling does not reach it.

    Work on a database cannot be taken back half-way, and cancelling a txpostgres query blocks
    the whole process until the server answers.
    """
    inner: Deferred[Any] = Deferred.fromCoroutine(work)
    outer: Deferred[Any] = Deferred()

    # A cancelled Deferred swallows the one result that comes later.
    inner.addCallbacks(outer.callback, outer.errback)
    return outer
