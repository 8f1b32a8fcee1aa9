"""The control plane's side of snapshots: build one from the store and the catalogue, and follow both."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voidllm.core.model import Model
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.core.snapshot_keys import EMPTY_TABLE, KeyDraft, KeyTable
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.following import Follower
from voidllm.snapshot_build import Book, Cells
from voidllm.store import changes_read, live_keys
from voidllm.store.changes_read import Changes

_log = Logger()
# Expiry is checked at use; this is for memory only, and for places in shared memory.
_SWEEP_S = 600.0
# Other work has its turn after so long.
_SLICE_S = 0.004
# Between one reading and the next there is as much time as the reading took, within these.
_REST_S = (0.01, 0.2)


@frozen
class Catalogue:
    """The models that the configuration and the store define.

    :ivar aliases: global aliases, ``alias -> canonical name``.
    """

    models: Mapping[str, Model]
    aliases: Mapping[str, str]


class Garbage(Protocol):
    """Keeps the garbage collector from looking at snapshots, see :mod:`voidllm.garbage`."""

    def put_by(self) -> None:
        """A piece of a snapshot is there."""

    def settle(self) -> None:
        """A whole snapshot is there."""

    def made(self, count: int) -> None:
        """Some principals are new."""


class NoGarbage:
    """Does nothing, for worlds whose garbage is somebody else's matter."""

    def put_by(self) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def made(self, count: int) -> None:
        """Do nothing."""


class SnapshotPublisher:
    """Keeps the holder's snapshot up to date with the store and the catalogue.

    After the first whole reading only what was touched is read, and the next snapshot shares the
    rest with the one before. Whole readings are done in pages, so that requests are answered meanwhile.

    :param holder: gets every new snapshot.
    :param cells: see :data:`~voidllm.snapshot_build.Cells`.
    """

    def __init__(
        self,
        world: World,
        store: Any,
        holder: SnapshotHolder,
        catalogue: Catalogue,
        garbage: Garbage | None = None,
        cells: Cells | None = None,
    ) -> None:
        self._world = world
        self._cells = cells
        self._store = store
        self._holder = holder
        self._catalogue = catalogue
        self._garbage = garbage or NoGarbage()
        self._book: Book | None = None
        # Version of the store that the book is of.
        self._seen = -1
        self._follower = Follower(world, store, self._work, "what a snapshot is built from", self._crashed)
        self._sweep_at_s = 0.0

    async def start(self) -> None:
        """Publish the first snapshot, then follow the store.

        :raises StoreError: if the store cannot be read now; then this may be called again.
        """
        await self._follower.start()

    def stop(self) -> None:
        """Follow the store no longer."""
        self._follower.stop()

    def refresh(self) -> None:
        """Follow the store's newest changes soon."""
        self._follower.refresh()

    def replace_catalogue(self, catalogue: Catalogue) -> None:
        """Publish with other models from now on (configuration reloaded, prices arrived)."""
        self._catalogue = catalogue
        if self._book is not None:
            self._publish(self._holder.current.keys)

    def _crashed(self) -> None:
        # Half of a change may be in the book.
        self._seen = -1

    # -- the work

    async def _work(self) -> None:
        seconds = self._world.reactor.seconds
        began_s = seconds()
        try:
            if self._book is None or self._seen < 0:
                await self._read_all()
            changes = await self._changes()
            if changes is None:
                await self._read_all()
                # What came meanwhile may be a lot again; the next round sees to it.
                self._follower.refresh()
            elif changes.version != self._seen:
                await self._follow(changes)
            if seconds() >= self._sweep_at_s:
                await self._sweep()
        finally:
            took_s = seconds() - began_s
            self._follower.rest_until_s = seconds() + min(max(took_s, _REST_S[0]), _REST_S[1])

    async def _changes(self) -> Changes | None:
        changes: Changes | None = await self._store.read(
            changes_read.changes_since, self._seen, self._world.wall_ms()
        )
        return changes

    async def _read_all(self) -> None:
        """Read everything, in many transactions: what changes meanwhile is followed afterwards."""
        before, began_s = self._holder.current.keys, self._world.reactor.seconds()
        version, facts = await self._store.read(changes_read.all_scopes)
        book, draft = Book(before, self._cells), KeyDraft(EMPTY_TABLE)
        book.begin(facts)
        reading = self._page("")
        while reading is not None:
            keys, lists, last = await reading
            # The database works on the next page while this one is taken in.
            reading = None if last is None else self._page(last)
            await self._in_slices(book.add(draft, keys, lists))
            self._garbage.put_by()
        await self._in_slices(draft.share(before))
        self._book, self._seen = book, version
        self._sweep_at_s = self._world.reactor.seconds() + _SWEEP_S
        self._publish(draft.done())
        self._garbage.settle()
        _log.info(
            "{count} keys were read in {seconds} s",
            count=len(self._holder.current.keys),
            seconds=f"{self._world.reactor.seconds() - began_s:.3f}",
        )

    def _page(self, after: str) -> Deferred[Any] | None:
        page: Deferred[Any] = self._store.read(live_keys.page, after, self._world.wall_ms())
        return page

    async def _follow(self, changes: Changes) -> None:
        book = self._book
        assert book is not None
        more: list[live_keys.Keys] = []
        for kind, ids in zip(("org", "team"), book.new_owners(changes), strict=True):
            if ids:
                found = await self._store.read(live_keys.keys_of, kind, ids, self._world.wall_ms())
                more.append(found)
        draft = KeyDraft(self._holder.current.keys)
        await self._in_slices(book.follow(draft, changes))
        for keys, lists in more:
            await self._in_slices(book.add(draft, keys, lists))
        self._seen = changes.version
        self._publish(draft.done())
        self._garbage.made(len(changes.keys))

    async def _sweep(self) -> None:
        assert self._book is not None
        self._sweep_at_s = self._world.reactor.seconds() + _SWEEP_S
        keys = self._holder.current.keys
        draft = KeyDraft(keys)
        await self._in_slices(self._book.sweep(draft, keys, self._world.wall_ms()))
        self._publish(draft.done())

    async def _in_slices(self, steps: Iterator[None]) -> None:
        seconds = self._world.reactor.seconds
        until_s = seconds() + _SLICE_S
        for _ in steps:
            if seconds() > until_s:
                await deferLater(self._world.reactor, 0)
                until_s = seconds() + _SLICE_S

    def _publish(self, keys: KeyTable) -> None:
        """Put the next snapshot in force, unless it would say nothing new."""
        assert self._book is not None
        self._book.known(keys)
        before, catalogue = self._holder.current, self._catalogue
        aliases = Aliases(self._book.team_aliases, self._book.org_aliases, catalogue.aliases)
        if (
            before.version
            and keys.same(before.keys)
            and catalogue.models is before.models
            and aliases == before.aliases
        ):
            return
        if aliases == before.aliases:
            aliases = before.aliases
        self._holder.swap(Snapshot(before.version + 1, keys, catalogue.models, aliases))
