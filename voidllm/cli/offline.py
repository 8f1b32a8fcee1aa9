"""A stopped gateway: the same operations, on its store, in a reactor that lives as long as they take."""

from __future__ import annotations

import os
from typing import Any, Callable, Coroutine, Mapping, TypeVar

import msgspec
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from voidllm.admin.access import OPERATOR
from voidllm.admin.calls import Request, perform
from voidllm.admin.context import AdminContext
from voidllm.admin.routes import OPERATORS, ROUTES
from voidllm.bootstrap import box_id
from voidllm.cli import client
from voidllm.cli.client import STEP_S, nobody_answers
from voidllm.cli.failures import Failed, Unreachable
from voidllm.cli.live import LiveClient
from voidllm.core.crypto import KeyDigester
from voidllm.core.errors import (
    Refusal,
    StateError,
    StateInUse,
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from voidllm.core.keyfile import configured_keys
from voidllm.core.keyring import Keyring
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.store import open_store
from voidllm.unlocking import digest_key, find_keyring
from voidllm.usage.batcher import UsageBatcher, UsageCounters
from voidllm.usage.segments import folder, scan
from voidllm.usage.settings import UsageSettings

T = TypeVar("T")


_START_ONCE = "start the gateway once (voidllm serve), which makes an organisation and a first key"
_PATIENCE_S = 30.0


def perform_offline(config: Any, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` on the store of a gateway that does not run.

    :raises Failed: with a message for people.
    """
    database = config.database
    if database.driver == "sqlite" and not os.path.exists(database.sqlite_path):
        raise Unreachable(f"there is no store at {database.sqlite_path} yet: {_START_ONCE}")
    from twisted.internet import reactor

    world = World(reactor=reactor, in_thread=deferToThread)
    # Made first: the driver that this imports may be where only root can read.
    store = _store(world, database)
    _become_owner(config.state_dir)
    os.umask(0o077)
    done: list[T] = []
    failed: list[Exception] = []

    async def run() -> None:
        try:
            done.append(await _on_store(world, store, config, work))
        except Exception as error:
            # Told below, outside of the reactor.
            failed.append(error)

    try:
        task.react(lambda _: Deferred.fromCoroutine(run()))
    except SystemExit:
        pass
    if failed:
        raise _told(failed[0])
    if not done:
        raise Unreachable("interrupted")
    return done[0]


def _told(error: Exception) -> Exception:
    """Give what to say of an error; what nobody expected stays what it is."""
    if isinstance(error, Refusal):
        return Unreachable(error.message) if error.status == 503 else Failed(error.message)
    if isinstance(error, StateError):
        return Unreachable(str(error))
    if isinstance(error, StoreConflict):
        return Failed("this is in conflict with what is stored")
    if isinstance(error, StoreUnavailable):
        return Unreachable("the database cannot be reached; see 'database' in the configuration")
    if isinstance(error, (StoreBusy, StoreTimeout)):
        return Unreachable("the database did not answer in time; try again")
    if isinstance(error, StoreError):
        return Failed("the database refuses this")
    return error


def _become_owner(state_dir: str) -> None:
    """As root, become the user that the state belongs to: the gateway must not find files it may not open."""
    try:
        owner = os.stat(state_dir)
    except OSError as error:
        raise Unreachable(
            f"the state folder {state_dir} cannot be used ({os.strerror(error.errno or 0)}): {_START_ONCE}"
        ) from None
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _store(world: World, database: Any) -> Any:
    if database.driver == "sqlite":
        return open_store(world, "sqlite", database.sqlite_path)
    # A person waits: a server that is not there is told sooner than at a gateway's start.
    return open_store(world, database.driver, database.dsn, connections=2, start_timeout_s=3.0)


async def _on_store(
    world: World, store: Any, config: Any, work: Callable[[Any], Coroutine[Any, Any, T]]
) -> T:
    live = await _open(world, store, config)
    if live is not None:
        # It blocks this reactor, which has nothing else to do.
        try:
            return await work(live)
        finally:
            live.close()
    try:
        if await store.is_empty():
            raise StateError(f"the store is empty: {_START_ONCE}")
        return await work(OfflineClient(world, store, config))
    finally:
        await store.stop()


async def _open(world: World, store: Any, config: Any) -> LiveClient | None:
    """Open the store; whoever has it is given a moment to let go of it, or to answer.

    :returns: a client of the gateway that has begun to answer, else ``None``.
    """
    deadline_s = world.reactor.seconds() + client.PATIENCE_S
    while True:
        try:
            await store.start()
            return None
        except StateInUse:
            pass
        live = LiveClient.reach(config.state_dir)
        if live is not None:
            return live
        if world.reactor.seconds() > deadline_s:
            raise nobody_answers(config)
        await task.deferLater(world.reactor, STEP_S)


class OfflineClient:
    """See :class:`voidllm.cli.client.Client`."""

    def __init__(self, world: World, store: Any, config: Any) -> None:
        self._world = world
        self._store = store
        self._config = config

    async def create_key(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key."""
        return await self._do("create_key", await self._context(), body=body)

    async def list_keys(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Give one page of keys."""
        return await self._do("list_keys", self._keyless(), query)

    async def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Revoke a key."""
        return await self._do("revoke_key", self._keyless(), key_id=key_id)

    async def rotate_key(self, key_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put a new key in the place of an old one."""
        return await self._do("rotate_key", await self._context(), body=body, key_id=key_id)

    async def usage(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Report usage, with what is still in the journal."""
        await self._drain()
        return await self._do("report_usage", self._keyless(), query)

    async def audit_logs(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Give one page of the audit log."""
        return await self._do("list_audit_logs", self._keyless(), query)

    async def verify_audit(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Check a part of the audit log."""
        return await self._do("verify_audit_logs", self._keyless(), query)

    async def reset_password(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give somebody a new password."""
        return await self._do("operator_reset_password", self._keyless(), body=body)

    async def disable_totp(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take away somebody's second factor."""
        return await self._do("operator_disable_totp", self._keyless(), body=body)

    async def encryption(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Do one thing of a rotation of the encryption key; see :mod:`voidllm.admin.encryption`."""
        return await self._do(name, await self._context(), body=body)

    async def _do(
        self,
        name: str,
        context: AdminContext,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        **path: str,
    ) -> dict[str, Any]:
        """Do what the route of that name does, for the operator."""
        (route,) = (route for route in (*ROUTES, *OPERATORS) if route.name == name)
        args = {one.encode(): [value.encode()] for one, value in (query or {}).items()}
        answer = await perform(route, context, OPERATOR, Request(path, args, lambda: body or {}))
        plain: dict[str, Any] = msgspec.to_builtins(answer.value)
        return plain

    def _keyless(self) -> AdminContext:
        return self._with(KeyDigester(b""))

    async def _context(self) -> AdminContext:
        """Give a context that can make keys: with the store's own encryption keys, never a new one."""
        settings = self._config.settings
        configured = configured_keys(settings.encryption_key, settings.encryption_keys_old)
        ring = await find_keyring(
            self._world, self._config.state_dir, configured, self._store, may_create=False
        )
        return self._with(KeyDigester(await digest_key(self._store, ring)), ring)

    def _with(self, digester: KeyDigester, secrets: Keyring | None = None) -> AdminContext:
        return AdminContext(
            self._world,
            self._store,
            digester,
            SnapshotHolder(),
            config=lambda: self._config,
            box=box_id(self._world, self._config.state_dir),
            secrets=secrets or Keyring(),
        )

    async def _drain(self) -> None:
        """Commit the rest of the journal.

        Every writer is treated as if it lived: its newest segment is read and not deleted, so
        that nothing is lost even if a gateway should be there unnoticed.
        """
        world, state_dir = self._world, self._config.state_dir
        segments = scan(world.fs, folder(state_dir))
        if not segments:
            return
        batcher = UsageBatcher(
            world,
            self._store,
            state_dir,
            box_id(world, state_dir),
            UsageSettings(),
            UsageCounters(),
            live_writers=lambda: {segment.writer for segment in segments},
        )
        batcher.startService()
        late = world.reactor.callLater(_PATIENCE_S, batcher.stopService)
        try:
            await batcher.flush()
        finally:
            if late.active():
                late.cancel()
                await batcher.stopService()
