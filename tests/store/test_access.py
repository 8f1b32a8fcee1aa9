"""Keys, tenants and what snapshots are built from, on both stores."""

from __future__ import annotations

from itertools import product
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import NOW, OnPostgres, OnSQLite, key, new_id, org, secret, seed, team, user
from voidllm.auth.keys import PREFIXES
from voidllm.auth.roles import role_of_key
from voidllm.core.errors import StoreConflict, StoreRejected
from voidllm.core.principal import Limits
from voidllm.store import access_rows, keys, tenants
from voidllm.store.pages import Page
from voidllm.store.records import KeyFilter, ServiceAccount
from voidllm.store.statements import Op, q

LIMITS = Limits(1, 2, 3, 4, 5)


class AccessSuite:
    """Behaviour that both stores share."""

    store: Any
    patch: Any

    async def refused(self, work: Any, kind: type[Exception]) -> None:
        with self.assertRaises(kind):
            await work

    async def test_bootstrap_once(self) -> None:
        """The first bootstrap creates everything, the second changes nothing and says so."""
        first, second = seed(meta=(("check", "value"),)), seed()
        self.assertTrue(await self.store.is_empty())
        self.assertTrue(await self.store.bootstrap(first, NOW))
        self.assertFalse(await self.store.is_empty())
        self.assertFalse(await self.store.bootstrap(second, NOW))
        stored = await self.store.load(NOW)
        self.assertEqual(stored.orgs, (first.org,))
        found = [(k.hash, k.role, k.user_id) for k in stored.keys]
        self.assertEqual(found, [(first.key.hash, "system_admin", first.admin.id)])
        self.assertEqual(await self.store.meta_get("check"), "value")

    async def test_bootstrap_is_atomic(self) -> None:
        """A bootstrap that fails half-way leaves the store empty."""
        broken = seed()
        bad_key = evolve(broken.key, hash="short")
        await self.refused(self.store.bootstrap(evolve(broken, key=bad_key), NOW), StoreRejected)
        self.assertTrue(await self.store.is_empty())
        self.assertTrue(await self.store.bootstrap(broken, NOW))

    async def test_two_bootstraps_at_once(self) -> None:
        """Of several bootstraps at the same time exactly one happens."""
        seeds = [seed() for _ in range(4)]
        work = [self.store.bootstrap(one, NOW) for one in seeds]
        results = [await one for one in work]
        winner = seeds[results.index(True)]
        self.assertEqual(results.count(True), 1)
        self.assertEqual((await self.store.load(NOW)).orgs, (winner.org,))

    async def test_meta(self) -> None:
        """A small value is kept, replaced, and absent as None."""
        self.assertIsNone(await self.store.meta_get("x"))
        await self.store.meta_set("x", "1")
        await self.store.meta_set("x", "zwei")
        self.assertEqual(await self.store.meta_get("x"), "zwei")

    async def test_key_round_trip(self) -> None:
        """A key comes back as it went in, with limits, scopes and access list."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        new = key(
            first.org,
            first.admin,
            name="Schlüssel ☃",
            scopes=frozenset({"inference", "admin:read"}),
            limits=LIMITS,
            models=frozenset({"a", "b"}),
            expires_at_ms=NOW + 5,
        )
        made = await self.store.create_key(new, NOW)
        self.assertEqual(await self.store.get_key(new.id), made)
        for name in ("id", "hash", "hint", "name", "scopes", "limits", "models", "expires_at_ms", "user_id"):
            self.assertEqual(getattr(made, name), getattr(new, name), name)
        self.assertEqual(made.created_at_ms, NOW)
        stored = await self.store.load(NOW)
        self.assertIn(made, stored.keys)
        self.assertEqual(stored.access, {("key", new.id): frozenset({"a", "b"})})
        self.assertIsNone(await self.store.get_key(new_id()))

    async def test_roles(self) -> None:
        """A key's role follows from its owner: user, team, service account."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        group = await self.store.create_team(team(first.org))
        member, boss, stranger = user(), user(), user()
        await self.store.create_user(member, first.org.id)
        await self.store.create_user(boss, first.org.id, "org_admin")
        await self.store.create_user(stranger)
        wide = ServiceAccount(new_id(), first.org.id, "wide", NOW)
        narrow = ServiceAccount(new_id(), first.org.id, "narrow", NOW, team_id=group.id)
        await self.store.create_service_account(wide)
        await self.store.create_service_account(narrow)
        wanted = [
            (key(first.org, member), "member"),
            (key(first.org, boss), "org_admin"),
            (key(first.org, first.admin, key_type="session_key"), "system_admin"),
            (key(first.org, key_type="team_key", team_id=group.id), "team_admin"),
            (key(first.org, key_type="sa_key", service_account_id=wide.id), "org_admin"),
            (key(first.org, key_type="sa_key", service_account_id=narrow.id, team_id=group.id), "team_admin"),
        ]
        with self.assertRaises(StoreConflict):
            await self.store.create_key(key(first.org, stranger), NOW)
        for new, role in wanted:
            self.assertEqual((await self.store.create_key(new, NOW)).role, role)
        loaded = {k.id: k.role for k in (await self.store.load(NOW)).keys}
        self.assertEqual({new.id: role for new, role in wanted}.items() - loaded.items(), set())

    async def test_keys_of_nobody_are_refused(self) -> None:
        """A key needs an owner that exists, in the same organisation, and a hash of its own."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        theirs = await self.store.create_team(team(other))
        conflict = [
            key(org(), first.admin),
            key(first.org, user()),
            key(first.org, key_type="team_key", team_id=theirs.id),
            key(first.org, first.admin, hash=first.key.hash),
            key(first.org, first.admin, expires_at_ms=NOW),
        ]
        rejected = [
            key(first.org),
            key(first.org, key_type="team_key"),
            key(first.org, first.admin, key_type="root_key"),
            key(first.org, first.admin, name="a\0b"),
            key(first.org, first.admin, name="\ud800"),
            key(first.org, first.admin, limits=Limits(requests_per_day=-1)),
            key(first.org, first.admin, limits=Limits(tokens_per_day=1 << 70)),
        ]
        for new in conflict:
            await self.refused(self.store.create_key(new, NOW), StoreConflict)
        for new in rejected:
            await self.refused(self.store.create_key(new, NOW), StoreRejected)
        self.assertEqual([k.id for k in (await self.store.load(NOW)).keys], [first.key.id])

    async def test_errors_hold_no_values(self) -> None:
        """What a refused row held is in no error text."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        same_slug = evolve(first.org, id=new_id(), name="canary")
        same_id = evolve(first.org, name="canary", slug="canary")
        for bad in (same_slug, same_id):
            with self.assertRaises(StoreConflict) as caught:
                await self.store.create_org(bad)
            for secret_value in ("canary", first.org.slug, first.org.id):
                self.assertNotIn(secret_value, str(caught.exception))
            self.assertTrue(caught.exception.__suppress_context__)

    async def test_revoke(self) -> None:
        """A revoked key is out of the next load, is still listed on demand, and is revoked once."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        self.assertTrue(await self.store.revoke_key(first.key.id, NOW + 1))
        self.assertFalse(await self.store.revoke_key(first.key.id, NOW + 2))
        self.assertFalse(await self.store.revoke_key(new_id(), NOW))
        self.assertEqual((await self.store.load(NOW + 1)).keys, ())
        self.assertEqual(await self.store.list_keys(), [])
        listed = await self.store.list_keys(KeyFilter(include_revoked=True))
        self.assertEqual([k.revoked_at_ms for k in listed], [NOW + 1])

    async def test_keys_of_deleted_owners_are_dead(self) -> None:
        """A key whose organisation, team, user or service account is gone is not loaded."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        home = await self.store.create_org(org())
        group = await self.store.create_team(team(first.org))
        robot = await self.store.create_service_account(ServiceAccount(new_id(), first.org.id, "r", NOW))
        person = await self.store.create_user(user(), first.org.id)
        owners = {
            "organizations": (home.id, key(home, first.admin)),
            "teams": (group.id, key(first.org, key_type="team_key", team_id=group.id)),
            "service_accounts": (robot.id, key(first.org, key_type="sa_key", service_account_id=robot.id)),
            "users": (person.id, key(first.org, person)),
        }
        for _, new in owners.values():
            await self.store.create_key(new, NOW)
        for table, (owner_id, new) in owners.items():
            self.assertIn(new.id, [k.id for k in (await self.store.load(NOW)).keys])

            def delete(table: str = table, owner_id: str = owner_id) -> Op[None]:
                yield q(f"UPDATE {table} SET deleted_at_ms = 1 WHERE id = ?", owner_id)

            await self.store._run(delete, write=True, repeatable=True)
            self.assertNotIn(new.id, [k.id for k in (await self.store.load(NOW)).keys])
        self.assertEqual([k.id for k in (await self.store.load(NOW)).keys], [first.key.id])

    async def test_expiry(self) -> None:
        """An expired key is not loaded; the last millisecond before still counts."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        short = await self.store.create_key(key(first.org, first.admin, expires_at_ms=NOW + 10), NOW)
        self.assertIn(short, (await self.store.load(NOW + 9)).keys)
        self.assertNotIn(short.id, [k.id for k in (await self.store.load(NOW + 10)).keys])

    async def test_rotate(self) -> None:
        """A rotated key hands on all but its secret, and ends no later than it would have."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        old = await self.store.create_key(key(first.org, first.admin, limits=LIMITS, models=frozenset()), NOW)
        fresh = secret(expires_at_ms=NOW + 900)
        new = await self.store.rotate_key(old.id, fresh, NOW + 100, NOW + 1)
        own = ("id", "hash", "hint", "expires_at_ms", "created_at_ms", "updated_at_ms")
        self.assertEqual(evolve(new, **{name: getattr(old, name) for name in own}), old)
        self.assertEqual((new.id, new.hash, new.expires_at_ms), (fresh.id, fresh.hash, NOW + 900))
        self.assertEqual((await self.store.get_key(old.id)).expires_at_ms, NOW + 100)
        self.assertIsNone(await self.store.rotate_key(old.id, secret(), NOW + 500, NOW + 2))
        self.assertEqual((await self.store.get_key(old.id)).expires_at_ms, NOW + 100)
        self.assertIsNone(await self.store.rotate_key(old.id, secret(), NOW + 500, NOW + 100))
        await self.store.revoke_key(new.id, NOW + 3)
        self.assertIsNone(await self.store.rotate_key(new.id, secret(), NOW + 500, NOW + 4))

    async def test_list_pages(self) -> None:
        """Keys are listed by id in pages, of one organisation if asked."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        ids = [first.key.id]
        for n in range(4):
            later = key(first.org, first.admin, id=new_id(NOW + n + 1))
            ids.append((await self.store.create_key(later, NOW)).id)
        theirs = await self.store.create_key(key(other, first.admin, models=frozenset({"m"})), NOW)
        page = await self.store.list_keys(KeyFilter(first.org.id), Page(2))
        rest = await self.store.list_keys(KeyFilter(first.org.id), Page(after=("", page[-1].id)))
        self.assertEqual([k.id for k in page + rest], ids)
        self.assertEqual(await self.store.list_keys(KeyFilter(other.id)), [theirs])

    async def test_many_rows(self) -> None:
        """A load of more rows than one page holds is complete."""
        for module in (keys, access_rows, tenants):
            self.patch(module, "PAGE", 4)
        first = seed()
        await self.store.bootstrap(first, NOW)
        many = [key(first.org, first.admin, models=frozenset({"m", "n"})) for _ in range(9)]
        for new in many:
            await self.store.create_key(new, NOW)
        teams = [await self.store.create_team(team(first.org)) for _ in range(9)]
        aliases = {f"a{n}": "m" for n in range(9)}
        await self.store.set_aliases("org", first.org.id, aliases)
        stored = await self.store.load(NOW)
        self.assertEqual({k.id for k in stored.keys}, {first.key.id, *(k.id for k in many)})
        self.assertEqual(stored.access, {("key", k.id): k.models for k in many})
        self.assertEqual(set(stored.teams), set(teams))
        self.assertEqual(stored.org_aliases, {(first.org.id, alias): "m" for alias in aliases})

    async def test_limits(self) -> None:
        """Limits of every scope are set, loaded and taken away again."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        group = await self.store.create_team(team(first.org))
        for kind, scope in (("system", ""), ("org", first.org.id), ("team", group.id), ("key", first.key.id)):
            self.assertTrue(await self.store.set_limits(kind, scope, LIMITS))
        stored = await self.store.load(NOW)
        found = [stored.system_limits, stored.orgs[0].limits, stored.teams[0].limits, stored.keys[0].limits]
        self.assertEqual(found, [LIMITS] * 4)
        self.assertTrue(await self.store.set_limits("org", first.org.id, Limits()))
        self.assertEqual((await self.store.load(NOW)).orgs[0].limits, Limits())
        self.assertFalse(await self.store.set_limits("team", new_id(), LIMITS))
        await self.refused(self.store.set_limits("galaxy", "x", LIMITS), StoreRejected)

    async def test_access_lists(self) -> None:
        """A scope may reach everything, some models, or none at all, and these are three things."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        group = await self.store.create_team(team(first.org))
        await self.store.set_access("org", first.org.id, ["a", "b", "a"])
        await self.store.set_access("team", group.id, [])
        wanted = {("org", first.org.id): frozenset({"a", "b"}), ("team", group.id): frozenset()}
        self.assertEqual((await self.store.load(NOW)).access, wanted)
        self.assertTrue(await self.store.set_access("org", first.org.id, None))
        self.assertTrue(await self.store.set_access("key", first.key.id, []))
        stored = await self.store.load(NOW)
        self.assertEqual(stored.access, {("team", group.id): frozenset(), ("key", first.key.id): frozenset()})
        self.assertEqual(stored.keys[0].models, frozenset())
        self.assertFalse(await self.store.set_access("org", new_id(), []))

    async def test_aliases(self) -> None:
        """Aliases belong to an organisation or a team and are replaced as a whole."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        group = await self.store.create_team(team(first.org))
        await self.store.set_aliases("org", first.org.id, {"gpt": "demo", "old": "demo"})
        await self.store.set_aliases("team", group.id, {"gpt": "other"})
        await self.store.set_aliases("org", first.org.id, {"gpt": "demo"})
        stored = await self.store.load(NOW)
        self.assertEqual(stored.org_aliases, {(first.org.id, "gpt"): "demo"})
        self.assertEqual(stored.team_aliases, {(group.id, "gpt"): "other"})
        self.assertFalse(await self.store.set_aliases("team", new_id(), {"a": "b"}))
        await self.refused(self.store.set_aliases("key", first.key.id, {"a": "b"}), StoreRejected)

    async def test_unique_names(self) -> None:
        """Slugs and e-mail addresses, whatever their case, are given once."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        await self.refused(self.store.create_org(org(slug=first.org.slug)), StoreConflict)
        await self.refused(self.store.create_user(user(email=first.admin.email.upper())), StoreConflict)
        await self.refused(self.store.create_team(team(org())), StoreConflict)
        await self.refused(self.store.create_user(user(), org().id), StoreConflict)

    async def test_version_and_listeners(self) -> None:
        """Every change, and nothing else, moves the version and tells the listeners."""
        told: list[int] = []
        unsubscribe = self.store.subscribe(lambda: told.append(1))
        first = seed()
        versions = [await self.store.change_version()]
        changes = [
            lambda: self.store.bootstrap(first, NOW),
            lambda: self.store.create_key(key(first.org, first.admin), NOW),
            lambda: self.store.set_access("org", first.org.id, []),
            lambda: self.store.revoke_key(first.key.id, NOW),
        ]
        for n, change in enumerate(changes, 1):
            await change()
            self.assertEqual(len(told), n)
            versions.append(await self.store.change_version())
        self.assertEqual(versions, sorted(set(versions)))
        self.assertEqual((await self.store.load(NOW)).version, versions[-1])
        await self.store.revoke_key(first.key.id, NOW)
        await self.store.bootstrap(seed(), NOW)
        await self.store.meta_set("a", "b")
        await self.store.load(NOW)
        self.assertEqual(await self.store.change_version(), versions[-1])
        self.assertEqual(len(told), len(changes))
        unsubscribe()
        unsubscribe()
        await self.store.set_access("org", first.org.id, None)
        self.assertEqual(len(told), len(changes))

    async def test_cancelling_stops_waiting_only(self) -> None:
        """A cancelled operation fails for its caller and still happens, and the store works on."""
        first = seed()
        work = self.store.bootstrap(first, NOW)
        work.addErrback(lambda failure: failure.type.__name__)
        work.cancel()
        self.assertEqual(await work, "CancelledError")
        while await self.store.is_empty():
            pass
        self.assertEqual([k.id for k in (await self.store.load(NOW)).keys], [first.key.id])

    async def test_many_at_once(self) -> None:
        """Concurrent changes all happen, none twice."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        before = await self.store.change_version()
        work = [self.store.create_key(key(first.org, first.admin), NOW) for _ in range(30)]
        work += [self.store.revoke_key(first.key.id, NOW) for _ in range(5)]
        results = [await one for one in work]
        self.assertEqual(sum(result is True for result in results), 1)
        self.assertEqual(len((await self.store.load(NOW)).keys), 30)
        self.assertEqual(await self.store.change_version(), before + 31)

    async def test_restart_keeps_everything(self) -> None:
        """What was committed is there after stop and start; a stopped store refuses work."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        before = await self.store.load(NOW)
        await self.store.stop()
        with self.assertRaises(Exception) as caught:
            await self.store.ping()
        self.assertEqual(type(caught.exception).__name__, "StoreUnavailable")
        await self.store.start()
        await self.store.ping()
        self.assertEqual(await self.store.load(NOW), before)


class SQLiteAccessTests(AccessSuite, OnSQLite):
    """On SQLite."""


class PostgresAccessTests(AccessSuite, OnPostgres):
    """On PostgreSQL."""


class RoleTests(SynchronousTestCase):
    """Two layers that may not know each other say what a key may do."""

    def test_same_rule(self) -> None:
        """The role that a key is made with is the one that it is read with."""
        for case in product(PREFIXES, (None, "team"), (False, True), (None, "member", "org_admin")):
            self.assertEqual(keys.role_of(*case), role_of_key(*case), case)
