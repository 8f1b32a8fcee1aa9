"""Tests for building and publishing snapshots."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.sim import SimReactor, sim_world
from tests.snapshot_model import naive_snapshot
from voidllm.core.errors import StoreUnavailable
from voidllm.core.model import Deployment, Model
from voidllm.core.principal import Limits, Principal
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshot_delta import apply, difference
from voidllm.core.snapshots import SnapshotHolder
from voidllm.snapshots import Catalogue, SnapshotPublisher
from voidllm.store import access_rows, changes_read, keys, limits_rows, live_keys, open_store, state, tenants
from voidllm.store.changes import Changed, Touched
from voidllm.store.records import NewKey, Org, ServiceAccount, Team, User
from voidllm.store.statements import Op, q

SOON_MS = 60_000


def model(name: str) -> Model:
    """Make a model with one deployment."""
    return Model(name, "chat", (Deployment(name, name, "custom", "http://x/v1", name),))


MODELS = {name: model(name) for name in ("one", "two", "three", "four")}
FEW = Limits(requests_per_minute=5)


def digest(name: str) -> str:
    """Give a made-up digest in hex; names with the same first letter share a part of the table."""
    return name.encode().hex().ljust(64, "0")


class Case(SynchronousTestCase):
    """A store in memory with two organisations, and a publisher that follows it."""

    def setUp(self) -> None:
        """Start both."""
        self.reactor = SimReactor()
        self.world = sim_world(self.reactor)
        self.store: Any = open_store(self.world, "sqlite", ":memory:")
        self.holder = SnapshotHolder()
        self.catalogue = Catalogue(MODELS, {})
        self.cells: dict[tuple[str, str], int] = {}
        self.done(self.store.start())
        for org in ("org", "other"):
            self.done(self.store.create_org(Org(org, org, org, 0)))
            self.done(self.store.create_team(Team(f"{org}-team", org, "Team", "team", 0)))
            self.done(self.store.create_service_account(ServiceAccount(f"{org}-robot", org, "robot", 0)))
        for user in ("ann", "bob"):
            self.done(self.store.create_user(User(user, f"{user}@x.org", user, 0), "org"))
        self.publisher = self.follow(self.holder)

    def follow(self, holder: SnapshotHolder, cells: Any = None) -> SnapshotPublisher:
        """Start a publisher."""
        made = SnapshotPublisher(self.world, self.store, holder, self.catalogue, cells=cells)
        self.done(Deferred.fromCoroutine(made.start()))
        self.addCleanup(made.stop)
        return made

    def done(self, deferred: Deferred[Any]) -> Any:
        """Give the result of what is done at once."""
        return self.successResultOf(deferred)

    def change(self, op: Callable[..., Op[Any]], *args: Any, touched: tuple[Touched, ...]) -> None:
        """Change the store, and say what that touches."""

        def make() -> Op[Changed[None]]:
            yield from op(*args)
            return Changed(None, "update", "thing", "id", touched=touched)

        self.done(self.store.change(None, make))

    def sql(self, sql: str, *params: Any, touched: tuple[Touched, ...]) -> None:
        """Change the store by one statement."""

        def op() -> Op[None]:
            yield q(sql, *params)

        self.change(op, touched=touched)

    def add_key(self, name: str, **values: Any) -> None:
        """Create a key; one of a user unless told otherwise."""
        owner = {"key_type": "user_key", "user_id": "ann"} if "key_type" not in values else {}
        new = NewKey(id=name, hash=digest(name), hint="", name=name, **{"org_id": "org", **owner, **values})
        self.change(keys.create_key, new, self.world.wall_ms(), touched=(("key", name),))

    def principal(self, name: str) -> Principal | None:
        """Give what is published of a key, once there was time for it."""
        self.reactor.spin(2, 0.05)
        found: Principal | None = self.holder.current.keys.get(bytes.fromhex(digest(name)))
        return found

    def model(self) -> Snapshot:
        """Give the snapshot as it should be."""
        stored = self.done(self.store.load(self.world.wall_ms()))
        return naive_snapshot(self.holder.current.version, stored, self.catalogue)

    def count_reads(self) -> list[str]:
        """Give a list that grows with the name of each operation that reads."""
        names: list[str] = []
        read = self.store.read

        def counted(op: Any, *args: Any) -> Any:
            names.append(op.__name__)
            return read(op, *args)

        self.patch(self.store, "read", counted)
        return names


class BuildTests(Case):
    """A snapshot is what the store and the configuration say together."""

    def test_only_scopes_with_limits_are_counted(self) -> None:
        """Scopes without a number cost nothing on the hot path."""
        self.change(tenants.set_limits, "org", "org", FEW, touched=(("org", "org"),))
        self.add_key("a")
        self.add_key("b", limits=Limits(tokens_per_day=9))
        one, two = self.principal("a"), self.principal("b")
        assert one is not None and two is not None
        self.assertEqual([scope.kind for scope in one.counted], ["org"])
        self.assertEqual([scope.kind for scope in two.counted], ["key", "org"])
        self.assertIs(one.counted[0], two.counted[1])

    def test_access_lists(self) -> None:
        """A model must be in every list there is; an empty list allows nothing."""
        self.add_key("a", key_type="team_key", team_id="org-team")
        free = self.principal("a")
        assert free is not None
        self.assertTrue(free.may_use("anything"))
        self.change(tenants.set_access, "org", "org", ["one", "two"], touched=(("org", "org"),))
        self.change(tenants.set_access, "team", "org-team", ["two", "three"], touched=(("team", "org-team"),))
        bound = self.principal("a")
        assert bound is not None
        self.assertEqual([name for name in MODELS if bound.may_use(name)], ["two"])
        self.change(tenants.set_access, "key", "a", [], touched=(("key", "a"),))
        none = self.principal("a")
        assert none is not None
        self.assertFalse(any(none.may_use(name) for name in MODELS))

    def test_key_without_its_owner_is_dead(self) -> None:
        """A key whose organisation or team is gone speaks for nobody, and again when that is back."""
        self.add_key("a", key_type="team_key", team_id="org-team")
        for table, kind, id_ in (("teams", "team", "org-team"), ("organizations", "org", "org")):
            self.assertIsNotNone(self.principal("a"))
            self.sql(f"UPDATE {table} SET deleted_at_ms = 1 WHERE id = ?", id_, touched=((kind, id_),))
            self.assertIsNone(self.principal("a"))
            self.sql(f"UPDATE {table} SET deleted_at_ms = NULL WHERE id = ?", id_, touched=((kind, id_),))
        self.sql("UPDATE teams SET name = 'x' WHERE id = 'org-team'", touched=(("team", "org-team"),))
        self.assertIsNotNone(self.principal("a"))

    def test_aliases(self) -> None:
        """A team's alias wins over the organisation's, that over a name, that over a global alias."""
        self.publisher.replace_catalogue(Catalogue(MODELS, {"global": "four", "best": "three", "one": "two"}))
        self.add_key("team", key_type="team_key", team_id="org-team")
        self.add_key("alone")
        self.add_key("stranger", org_id="other", key_type="team_key", team_id="other-team")
        of_team = {"best": "one", "far": "global"}
        self.change(tenants.set_aliases, "team", "org-team", of_team, touched=(("team", "org-team"),))
        of_org = {"best": "two", "two": "three"}
        self.change(tenants.set_aliases, "org", "org", of_org, touched=(("org", "org"),))
        for asked, who, found in (
            ("best", "team", "one"),
            ("best", "alone", "two"),
            ("best", "stranger", "three"),
            ("two", "team", "three"),
            ("one", "team", "one"),
            ("global", "team", "four"),
            ("far", "team", "four"),
            ("nothing", "team", None),
        ):
            with self.subTest(asked=asked, who=who):
                principal = self.principal(who)
                assert principal is not None
                resolved = self.holder.current.resolve(asked, principal)
                self.assertEqual(resolved.name if resolved else None, found)

    def test_secrets_are_not_shown(self) -> None:
        """Neither keys nor upstream secrets are in a snapshot's text."""
        secret = Deployment("s", "s", "custom", "http://x/v1", "s", api_key="canary")
        self.add_key("a")
        self.publisher.replace_catalogue(Catalogue({"s": Model("s", "chat", (secret,))}, {}))
        shown = repr(self.holder.current)
        self.assertNotIn("canary", shown)
        self.assertNotIn("ann", shown)

    def test_pages(self) -> None:
        """What takes several pages is complete, access lists of keys included."""
        self.patch(live_keys, "_AT_ONCE", 2)
        for module in (access_rows, tenants, live_keys):
            self.patch(module, "PAGE", 3)
        self.patch(keys, "PAGE", 3)
        for number in range(10):
            models = frozenset({f"m{n}" for n in range(number)}) if number % 2 else None
            self.add_key(f"key{number}", models=models)
        holder = SnapshotHolder()
        self.patch(live_keys.page, "__defaults__", (3,))
        self.follow(holder)
        self.reactor.spin(2, 0.05)
        self.assertEqual(holder.current.keys, self.model().keys)
        self.assertEqual(self.holder.current.keys, self.model().keys)


class PublisherTests(Case):
    """The publisher follows the store, whatever happens to it."""

    def setUp(self) -> None:
        """Have a key."""
        super().setUp()
        self.add_key("a")
        self.assertIsNotNone(self.principal("a"))

    def revoke(self) -> None:
        """Revoke the key."""
        self.change(keys.revoke_key, "a", self.world.wall_ms(), touched=(("key", "a"),))

    def test_change_is_published_at_once(self) -> None:
        """A revoked key is gone without waiting for a poll."""
        self.revoke()
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_only_what_was_touched_is_read(self) -> None:
        """A change of one key costs one short reading, and shares the rest with the snapshot before."""
        names = self.count_reads()
        for number in range(300):
            self.add_key(f"{number}")
        self.reactor.spin(2, 0.05)
        before = self.holder.current
        del names[:]
        self.revoke()
        self.reactor.spin(1, 0.05)
        self.assertEqual(names, ["changes_since"])
        after = self.holder.current
        shared = [a is b for a, b in zip(before.keys.shards(), after.keys.shards(), strict=True)]
        self.assertEqual(shared.count(False), 1)
        self.assertIs(after.models, before.models)
        self.assertIs(after.aliases, before.aliases)
        self.assertEqual(len(difference(before, after).keys_gone), 1)

    def test_many_changes(self) -> None:
        """Changes that come while there is rest are read together."""
        names = self.count_reads()
        for number in range(100):
            self.add_key(f"{number}")
        self.reactor.spin(3, 0.05)
        self.assertLess(len(names), 5)
        self.assertEqual(len(self.holder.current.keys), 101)

    def test_lost_notification(self) -> None:
        """A change that nobody told of is found by the poll."""
        self.patch(self.store, "_listeners", [])
        self.revoke()
        self.reactor.spin(2, 0.5)
        self.assertEqual(len(self.holder.current.keys), 1)
        self.reactor.spin(10, 0.5)
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_poll_without_change_loads_nothing(self) -> None:
        """Polling costs one small query while nothing changes, and nothing is published."""
        names, version = self.count_reads(), self.holder.current.version
        self.reactor.spin(60, 0.5)
        self.assertLessEqual(len(names), 13)
        self.assertEqual(set(names), {"changes_since"})
        self.assertEqual(self.holder.current.version, version)

    def test_change_of_nothing(self) -> None:
        """A change that touches nothing of a snapshot is read past."""
        names, version = self.count_reads(), self.holder.current.version
        self.sql("UPDATE users SET name = 'x'", touched=())
        self.sql("UPDATE users SET name = 'y'", touched=(("models", ""), ("user", "ann")))
        self.reactor.spin(2, 0.05)
        self.assertEqual(set(names), {"changes_since"})
        self.assertEqual(self.holder.current.version, version)

    def test_everything_is_read_where_nobody_says_what(self) -> None:
        """After a count without a word, a word that nobody knows, too many words or a forgotten one."""

        def silently() -> Op[None]:
            yield q("UPDATE api_keys SET name = 'silent'")
            yield from state.bump()

        def forget() -> Op[None]:
            yield q("DELETE FROM changes")

        def forgotten() -> None:
            self.patch(self.store, "_listeners", [])
            self.sql("UPDATE api_keys SET name = 'forgotten'", touched=(("key", "a"),))
            self.done(self.store.write(forget))

        for name, do in (
            ("silent", lambda: self.done(self.store.write(silently))),
            ("all", lambda: self.sql("UPDATE api_keys SET name = 'all'", touched=(("all", ""),))),
            ("new", lambda: self.sql("UPDATE api_keys SET name = 'new'", touched=(("galaxy", "x"),))),
            (
                "many",
                lambda: self.sql(
                    "UPDATE api_keys SET name = 'many'",
                    touched=tuple(("key", str(n)) for n in range(changes_read.MOST + 1)),
                ),
            ),
            ("forgotten", forgotten),
        ):
            do()
            self.reactor.spin(12, 0.5)
            found = self.principal("a")
            assert found is not None
            self.assertEqual(found.key_name, name)

    def test_an_older_store(self) -> None:
        """A store that was put back from a backup is read anew."""
        self.sql("UPDATE change_version SET version = 2", touched=())
        self.sql("UPDATE api_keys SET name = 'old'", touched=())
        self.reactor.spin(12, 0.5)
        found = self.principal("a")
        assert found is not None
        self.assertEqual(found.key_name, "old")

    def test_store_away(self) -> None:
        """While the store is away the old snapshot serves on; afterwards the change arrives."""
        read = self.store.read
        self.store.read = lambda *_: fail(StoreUnavailable("away"))
        self.revoke()
        self.reactor.spin(30, 0.5)
        self.assertEqual(len(self.holder.current.keys), 1)
        self.store.read = read
        self.reactor.spin(12, 0.5)
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_away_in_the_middle(self) -> None:
        """A whole reading that is cut short changes nothing, and is begun again."""
        read = self.store.read
        self.store.read = lambda op, *args: (
            fail(StoreUnavailable("away")) if op is live_keys.page else read(op, *args)
        )
        self.sql("UPDATE api_keys SET revoked_at_ms = 1", touched=(("all", ""),))
        self.reactor.spin(10, 0.5)
        self.assertEqual(len(self.holder.current.keys), 1)
        self.store.read = read
        self.reactor.spin(12, 0.5)
        self.assertEqual(len(self.holder.current.keys), 0)

    def test_expired_keys_go(self) -> None:
        """A key that has expired is dropped within some minutes; one that lives longer again is back."""
        now_ms = self.world.wall_ms()
        self.sql("UPDATE api_keys SET expires_at_ms = ?", now_ms + SOON_MS, touched=(("key", "a"),))
        self.assertIsNotNone(self.principal("a"))
        self.reactor.spin(1300, 0.5)
        self.assertIsNone(self.principal("a"))
        late_ms = self.world.wall_ms() + SOON_MS
        self.sql("UPDATE api_keys SET expires_at_ms = ?", late_ms, touched=(("key", "a"),))
        self.assertIsNotNone(self.principal("a"))

    def test_places(self) -> None:
        """Every scope with limits has a place, which is asked for again while it is counted."""
        asked: list[tuple[str, str]] = []

        def cells(kind: str, id_: str) -> int:
            asked.append((kind, id_))
            return len(id_)

        self.change(limits_rows.put, "key", "a", FEW, touched=(("key", "a"),))
        self.change(limits_rows.put, "org", "org", FEW, touched=(("org", "org"),))
        holder = SnapshotHolder()
        self.follow(holder, cells)
        found = holder.current.keys[bytes.fromhex(digest("a"))]
        self.assertEqual([scope.cell for scope in found.counted], [1, 3])
        self.assertEqual(sorted(asked), [("key", "a"), ("org", "org")])
        del asked[:]
        self.reactor.spin(1300, 0.5)
        self.assertEqual(sorted(set(asked)), [("key", "a"), ("org", "org")])

    def test_new_catalogue(self) -> None:
        """Other models are published without a change in the store."""
        self.publisher.replace_catalogue(Catalogue({"five": model("five")}, {}))
        self.assertEqual(list(self.holder.current.models), ["five"])
        self.assertEqual(len(self.holder.current.keys), 1)

    def test_stop(self) -> None:
        """A stopped publisher leaves no timer and no listener."""
        self.publisher.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.store._listeners, [])


_keys = st.sampled_from(["a1", "a2", "b1", "b2", "c1"])
_orgs = st.sampled_from(["org", "other"])
_users = st.sampled_from(["ann", "bob"])
_limits = st.sampled_from([Limits(), FEW, Limits(tokens_per_day=7)])
_models = st.none() | st.frozensets(st.sampled_from(list(MODELS)), max_size=2)
_aliases = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(list(MODELS)), max_size=2)
_moment = st.none() | st.sampled_from([-1, SOON_MS, 10 * SOON_MS])
_steps = st.one_of(
    st.tuples(st.just("user_key"), _keys, _users, st.booleans(), _limits, _models, _moment),
    st.tuples(st.just("owned_key"), _keys, _orgs, st.booleans(), _limits, _models),
    st.tuples(st.just("revoke"), _keys),
    st.tuples(st.just("expire"), _keys, _moment),
    st.tuples(st.just("limits"), st.sampled_from(["org", "team", "key", "system"]), _orgs, _keys, _limits),
    st.tuples(st.just("access"), st.sampled_from(["org", "team", "key"]), _orgs, _keys, _models),
    st.tuples(st.just("aliases"), st.sampled_from(["org", "team"]), _orgs, _aliases),
    st.tuples(st.just("gone"), st.sampled_from(["org", "team", "service_account"]), _orgs, st.booleans()),
    st.tuples(st.just("person"), _users, st.booleans(), st.booleans()),
    st.tuples(st.just("role"), _users, st.sampled_from([None, "member", "org_admin"])),
    st.tuples(st.just("move"), _orgs, st.booleans()),
    st.tuples(st.just("silent")),
    st.tuples(st.just("all")),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 30.0, 700.0])),
)
_TABLES = {"org": "organizations", "team": "teams", "service_account": "service_accounts"}


def _scope(kind: str, org: str, key: str = "") -> str:
    owned = {"org": org, "team": f"{org}-team", "service_account": f"{org}-robot"}
    return {**owned, "key": key, "system": ""}[kind]


class FollowingTests(Case):
    """Following changes gives what reading everything gives."""

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(_steps, st.booleans()), max_size=12))
    def test_any_changes(self, steps: list[tuple[tuple[Any, ...], bool]]) -> None:
        """After any changes, read together or one by one, and of whatever was touched."""
        Case.setUp(self)
        for name, user, teamed in (("a1", "ann", False), ("b1", "bob", True)):
            self.do_user_key(name, user, teamed, FEW, None, None)
        for name, org, robot in (("a2", "org", False), ("b2", "other", True)):
            self.do_owned_key(name, org, robot, Limits(), frozenset({"one"}))
        self.reactor.spin(2, 0.5)
        sent = self.holder.current
        self.assertEqual(len(sent.keys), 4)
        for (name, *values), apart in steps:
            getattr(self, f"do_{name}")(*values)
            if apart:
                self.do_wait(0.05)
        self.reactor.spin(14, 0.5)
        found, wanted = self.holder.current, self.model()
        now_ms = self.world.wall_ms()
        # One that has expired meanwhile may be there still; it is looked at when it is used.
        live = {
            key: value
            for key, value in found.keys.items()
            if value.expires_at_ms is None or value.expires_at_ms > now_ms
        }
        self.assertEqual(live, dict(wanted.keys))
        self.assertEqual(found.aliases, wanted.aliases)
        self.assertEqual(apply(sent, difference(sent, found)), found)
        again = SnapshotHolder()
        self.follow(again)
        self.assertEqual(again.current.keys, wanted.keys)
        self.publisher.stop()

    def put(self, name: str, values: Mapping[str, Any]) -> None:
        """Create a key, unless it is there or may not be."""
        if self.done(self.store.get_key(name)) is None:
            new = NewKey(id=name, hash=digest(name), hint="", name=name, **values)
            attempt = self.store.change(None, self._create, new)
            attempt.addErrback(lambda failure: failure.trap(Exception))
            self.done(attempt)

    def _create(self, new: NewKey) -> Op[Changed[Any]]:
        made = yield from keys.create_key(new, self.world.wall_ms())
        return Changed(made, "create", "key", new.id, touched=(("key", new.id),))

    def do_user_key(
        self, name: str, user: str, teamed: bool, limits: Limits, models: Any, moment: int | None
    ) -> None:
        """Create a user's key."""
        team = "org-team" if teamed else None
        expires = None if moment is None else self.world.wall_ms() + moment
        owner = {"key_type": "user_key", "org_id": "org", "user_id": user, "team_id": team}
        self.put(name, {**owner, "limits": limits, "models": models, "expires_at_ms": expires})

    def do_owned_key(self, name: str, org: str, robot: bool, limits: Limits, models: Any) -> None:
        """Create a key of a service account or team."""
        if robot:
            owner = {"key_type": "sa_key", "service_account_id": f"{org}-robot"}
        else:
            owner = {"key_type": "team_key", "team_id": f"{org}-team"}
        self.put(name, {**owner, "org_id": org, "limits": limits, "models": models})

    def do_revoke(self, name: str) -> None:
        """Revoke a key."""
        self.change(keys.revoke_key, name, self.world.wall_ms(), touched=(("key", name),))

    def do_expire(self, name: str, moment: int | None) -> None:
        """Give a key another end."""
        at_ms = None if moment is None else self.world.wall_ms() + moment
        self.sql("UPDATE api_keys SET expires_at_ms = ? WHERE id = ?", at_ms, name, touched=(("key", name),))

    def do_limits(self, kind: str, org: str, key: str, limits: Limits) -> None:
        """Set limits."""
        scope = _scope(kind, org, key)
        self.change(limits_rows.put, kind, scope, limits, touched=((kind, scope),))

    def do_access(self, kind: str, org: str, key: str, models: Any) -> None:
        """Set an access list."""
        scope = _scope(kind, org, key)
        self.change(access_rows.put_access, kind, scope, models, touched=((kind, scope),))

    def do_aliases(self, kind: str, org: str, aliases: dict[str, str]) -> None:
        """Set aliases."""
        scope = _scope(kind, org)
        self.change(access_rows.put_aliases, kind, scope, aliases, touched=((kind, scope),))

    def do_gone(self, kind: str, org: str, gone: bool) -> None:
        """Remove something, or bring it back."""
        scope = _scope(kind, org)
        self.sql(
            f"UPDATE {_TABLES[kind]} SET deleted_at_ms = ? WHERE id = ?",
            1 if gone else None,
            scope,
            # Whoever brings back an organisation brings back its teams.
            touched=((kind, scope), ("team", _scope("team", org))),
        )

    def do_person(self, user: str, gone: bool, system_admin: bool) -> None:
        """Remove somebody, bring them back, or give them the whole installation."""
        self.sql(
            "UPDATE users SET deleted_at_ms = ?, is_system_admin = ? WHERE id = ?",
            1 if gone else None,
            int(system_admin),
            user,
            touched=(("user", user),),
        )

    def do_role(self, user: str, role: str | None) -> None:
        """Give somebody another role, or none."""

        def op() -> Op[None]:
            yield q("DELETE FROM org_memberships WHERE user_id = ?", user)
            if role is not None:
                yield q("INSERT INTO org_memberships VALUES ('org', ?, ?, 1)", user, role)

        self.change(op, touched=(("user", user),))

    def do_move(self, org: str, teamed: bool) -> None:
        """Move a service account into the team or out of it."""
        self.sql(
            "UPDATE service_accounts SET team_id = ? WHERE id = ?",
            f"{org}-team" if teamed else None,
            f"{org}-robot",
            touched=(("service_account", f"{org}-robot"),),
        )

    def do_silent(self) -> None:
        """Count without a word."""
        self.done(self.store.write(state.bump))

    def do_all(self) -> None:
        """Change nobody knows what."""
        self.sql("UPDATE api_keys SET name = name || '!'", touched=(("all", ""),))

    def do_wait(self, seconds: float) -> None:
        """Let the publisher work."""
        self.reactor.spin(int(seconds * 2) or 1, 0.5)
