"""Tests for building and publishing snapshots."""

from __future__ import annotations

from typing import Any, Callable

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.sim import SimReactor, sim_world
from voidllm.core.errors import StoreUnavailable
from voidllm.core.model import Deployment, Model
from voidllm.core.principal import Limits
from voidllm.core.snapshots import SnapshotHolder
from voidllm.snapshots import Catalogue, SnapshotPublisher, build_snapshot
from voidllm.store.records import ApiKey, Org, StoredAccess, Team

HASH = "ab" * 32


def model(name: str) -> Model:
    """Make a model with one deployment."""
    return Model(name, "chat", (Deployment(name, name, "custom", "http://x/v1", name),))


MODELS = {name: model(name) for name in ("one", "two", "three", "four")}
ORG = Org("org", "Org", "org", 0, Limits(requests_per_minute=5))
TEAM = Team("team", "org", "Team", "team", 0)
KEY = ApiKey("key", HASH, "vl_tk_...0000", "team_key", "key", "org", "team")
STORED = StoredAccess(1, (ORG,), (TEAM,), (KEY,))


class BuildTests(SynchronousTestCase):
    """A snapshot is what the store and the configuration say together."""

    def principal(self, **changes: Any) -> Any:
        """Build a snapshot of the stored rows with some changes and give the key's principal."""
        snapshot = build_snapshot(1, evolve(STORED, **changes), Catalogue(MODELS, {}))
        return snapshot.keys.get(bytes.fromhex(HASH))

    def test_only_scopes_with_limits_are_counted(self) -> None:
        """Scopes without a number cost nothing on the hot path."""
        self.assertEqual([scope.kind for scope in self.principal().counted], ["org"])
        limited = evolve(KEY, limits=Limits(tokens_per_day=9))
        self.assertEqual([s.kind for s in self.principal(keys=(limited,)).counted], ["key", "org"])

    def test_access_lists(self) -> None:
        """A model must be in every list there is; an empty list allows nothing."""
        self.assertTrue(self.principal().may_use("anything"))
        lists = {("org", "org"): frozenset({"one", "two"}), ("team", "team"): frozenset({"two", "three"})}
        allowed = [name for name in MODELS if self.principal(access=lists).may_use(name)]
        self.assertEqual(allowed, ["two"])
        own = evolve(KEY, models=frozenset())
        self.assertFalse(any(self.principal(keys=(own,)).may_use(name) for name in MODELS))

    def test_key_without_its_owner_is_dead(self) -> None:
        """A key whose organisation or team is gone speaks for nobody."""
        self.assertIsNone(self.principal(orgs=()))
        self.assertIsNone(self.principal(teams=()))

    def test_aliases(self) -> None:
        """A team's alias wins over the organisation's, that over a name, that over a global alias."""
        stored = evolve(
            STORED,
            team_aliases={("team", "best"): "one", ("team", "far"): "global"},
            org_aliases={("org", "best"): "two", ("org", "two"): "three"},
        )
        snapshot = build_snapshot(
            1, stored, Catalogue(MODELS, {"global": "four", "best": "three", "one": "two"})
        )
        principal = snapshot.keys[bytes.fromhex(HASH)]
        alone = evolve(principal, team_id=None)
        stranger = evolve(principal, team_id=None, org_id="other")
        for asked, who, found in (
            ("best", principal, "one"),
            ("best", alone, "two"),
            ("best", stranger, "three"),
            ("two", principal, "three"),
            ("one", principal, "one"),
            ("global", principal, "four"),
            ("far", principal, "four"),
        ):
            with self.subTest(asked=asked, who=who):
                resolved = snapshot.resolve(asked, who)
                self.assertEqual(resolved.name if resolved else None, found)
        self.assertIsNone(snapshot.resolve("nothing", principal))

    def test_secrets_are_not_shown(self) -> None:
        """Neither keys nor upstream secrets are in a snapshot's text."""
        secret = Deployment("s", "s", "custom", "http://x/v1", "s", api_key="canary")
        models = {"s": Model("s", "chat", (secret,))}
        self.assertNotIn("canary", repr(build_snapshot(1, STORED, Catalogue(models, {}))))


class FakeStore:
    """The three calls that a publisher makes, answered by the test."""

    def __init__(self) -> None:
        self.version = 1
        self.stored = STORED
        self.away = False
        self.loads = 0
        self.listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Keep the listener."""
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def change_version(self) -> Deferred[int]:
        """Give the version, unless away."""
        return fail(StoreUnavailable("away")) if self.away else succeed(self.version)

    def load(self, now_ms: int) -> Deferred[StoredAccess]:
        """Give the rows."""
        self.loads += 1
        return succeed(evolve(self.stored, version=self.version))


class PublisherTests(SynchronousTestCase):
    """The publisher follows the store, whatever happens to it."""

    def setUp(self) -> None:
        """Start a publisher."""
        self.reactor = SimReactor()
        self.store = FakeStore()
        self.holder = SnapshotHolder()
        catalogue = Catalogue(MODELS, {})
        self.publisher = SnapshotPublisher(sim_world(self.reactor), self.store, self.holder, catalogue)
        self.successResultOf(Deferred.fromCoroutine(self.publisher.start()))
        self.addCleanup(self.publisher.stop)

    def change(self) -> None:
        """Remove all keys in the store and tell the listeners."""
        self.store.version += 1
        self.store.stored = evolve(STORED, keys=())
        for listener in self.store.listeners:
            listener()

    def test_change_is_published_at_once(self) -> None:
        """A revoked key is gone without waiting for a poll."""
        self.assertEqual(len(self.holder.current.keys), 1)
        self.change()
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_lost_notification(self) -> None:
        """A change that nobody told of is found by the poll."""
        listeners, self.store.listeners = self.store.listeners, []
        self.change()
        self.assertEqual(len(self.holder.current.keys), 1)
        self.reactor.spin(6, 0.5)
        self.assertEqual(len(self.holder.current.keys), 0)
        self.store.listeners = listeners

    def test_poll_without_change_loads_nothing(self) -> None:
        """Polling costs one small query while nothing changes."""
        self.reactor.spin(60, 0.5)
        self.assertEqual(self.store.loads, 1)

    def test_store_away(self) -> None:
        """While the store is away the old snapshot serves on; afterwards the change arrives."""
        self.store.away = True
        self.change()
        self.reactor.spin(30, 0.5)
        self.assertEqual(len(self.holder.current.keys), 1)
        self.store.away = False
        self.reactor.spin(6, 0.1)
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_new_catalogue(self) -> None:
        """Other models are published without a change in the store."""
        self.publisher.replace_catalogue(Catalogue({"five": model("five")}, {}))
        self.assertEqual(list(self.holder.current.models), ["five"])
        self.assertEqual(len(self.holder.current.keys), 1)

    def test_stop(self) -> None:
        """A stopped publisher leaves no timer and no listener."""
        self.publisher.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.store.listeners, [])
