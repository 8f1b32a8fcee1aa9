"""The control plane's side of snapshots: build one from the store and the catalogue, publish it."""

from __future__ import annotations

import gc
from typing import Any, Callable, Mapping

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.errors import StoreError
from voidllm.core.model import Model
from voidllm.core.principal import Principal, Scope
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.store.records import ApiKey, StoredAccess

_log = Logger()
Cells = Callable[[str, str], int]
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# Notifications do the work; this finds what a lost one would have said.
_POLL_S = 5.0


def retry_s(attempt: int) -> float:
    """Say how long to wait after failed try number ``attempt``, from 0, of reading the store."""
    return _RETRY_S[min(attempt, len(_RETRY_S) - 1)]


@frozen
class Catalogue:
    """The models that the configuration defines.

    :ivar aliases: global aliases, ``alias -> canonical name``.
    """

    models: Mapping[str, Model]
    aliases: Mapping[str, str]


def build_snapshot(
    version: int, stored: StoredAccess, catalogue: Catalogue, cells: Cells | None = None
) -> Snapshot:
    """Join what the store knows with what the configuration says; pure.

    :param cells: gives a limited scope's place in shared memory by its kind and id.
    """
    orgs = {org.id: org for org in stored.orgs}
    teams = {team.id: team for team in stored.teams}
    keys: dict[bytes, Principal] = {}
    for key in stored.keys:
        org = orgs.get(key.org_id)
        # A key whose organisation or team is gone is dead, whatever its row says.
        if org is None or (key.team_id is not None and key.team_id not in teams):
            continue
        scopes = [Scope("key", key.id, key.limits)]
        if key.team_id is not None:
            scopes.append(Scope("team", key.team_id, teams[key.team_id].limits))
        scopes.append(Scope("org", org.id, org.limits))
        counted = [scope for scope in scopes if not scope.limits.unlimited]
        if cells is not None:
            counted = [evolve(scope, cell=cells(scope.kind, scope.id)) for scope in counted]
        keys[bytes.fromhex(key.hash)] = Principal(
            key_id=key.id,
            key_type=key.key_type,
            key_name=key.name,
            org_id=key.org_id,
            team_id=key.team_id,
            user_id=key.user_id,
            service_account_id=key.service_account_id,
            role=key.role,
            scopes=key.scopes,
            expires_at_ms=key.expires_at_ms,
            counted=tuple(counted),
            access=_access(key, stored),
            networks=key.addresses,
        )
    aliases = Aliases(stored.team_aliases, stored.org_aliases, catalogue.aliases)
    return Snapshot(version, keys, catalogue.models, aliases)


def _access(key: ApiKey, stored: StoredAccess) -> tuple[frozenset[str], ...]:
    lists = [stored.access.get(("org", key.org_id)), stored.access.get(("key", key.id))]
    if key.team_id is not None:
        lists.append(stored.access.get(("team", key.team_id)))
    if key.models is not None:
        lists.append(key.models)
    return tuple({allowed for allowed in lists if allowed is not None})


class SnapshotPublisher:
    """Keeps the holder's snapshot up to date with the store and the catalogue.

    :param holder: gets every new snapshot.
    :param collect: called after each full build; puts the long-lived objects out of the
        garbage collector's sight.
    :param cells: see :func:`build_snapshot`.
    """

    def __init__(
        self,
        world: World,
        store: Any,
        holder: SnapshotHolder,
        catalogue: Catalogue,
        collect: Callable[[], None] = lambda: None,
        cells: Cells | None = None,
    ) -> None:
        self._world = world
        self._cells = cells
        self._store = store
        self._holder = holder
        self._catalogue = catalogue
        self._collect = collect
        self._version = 0
        self._seen = -1
        self._failures = 0
        self._building: Deferred[None] | None = None
        self._again = False
        self._timer: Any = None
        self._unsubscribe: Callable[[], None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Publish the first snapshot, then follow the store.

        :raises StoreError: if the store cannot be read now.
        """
        await self._build()
        self._unsubscribe = self._store.subscribe(self.refresh)
        # What changed between those two.
        await self._build()
        self._schedule(_POLL_S)

    def stop(self) -> None:
        """Follow the store no longer."""
        self._stopped = True
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def replace_catalogue(self, catalogue: Catalogue) -> None:
        """Publish with other models from now on (configuration reloaded, prices arrived)."""
        self._catalogue = catalogue
        self._seen = -1
        self.refresh()

    def refresh(self) -> None:
        """Build and publish again soon; calls during a build make one more."""
        if self._stopped:
            return
        if self._building is not None:
            self._again = True
            return
        self._building = Deferred.fromCoroutine(self._build())
        self._building.addCallbacks(self._built, self._not_built)

    def _built(self, _: None) -> None:
        self._building = None
        self._failures = 0
        if self._again:
            self._again = False
            self.refresh()
        else:
            self._schedule(_POLL_S)

    def _not_built(self, failure: Any) -> None:
        self._building = None
        self._again = False
        if failure.check(StoreError) is None:
            _log.failure("a snapshot could not be built", failure)
        # The snapshot that is there serves on.
        delay_s = retry_s(self._failures)
        self._failures += 1
        self._schedule(delay_s)

    def _schedule(self, delay_s: float) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(delay_s)
        else:
            self._timer = self._world.reactor.callLater(delay_s, self.refresh)

    async def _build(self) -> None:
        version = await self._store.change_version()
        if version == self._seen:
            return
        stored = await self._store.load(self._world.wall_ms())
        # What a build makes is long-lived; collecting in the middle of it is wasted work.
        enabled = gc.isenabled()
        gc.disable()
        try:
            snapshot = build_snapshot(self._version + 1, stored, self._catalogue, self._cells)
        finally:
            if enabled:
                gc.enable()
        self._version += 1
        self._seen = stored.version
        self._holder.swap(snapshot)
        self._collect()
