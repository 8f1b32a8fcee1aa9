"""What the administrative API asks of a store: sorted pages, guarded changes, kept answers."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.store.support import NOW, OnPostgres, OnSQLite, key, new_id, org, seed
from voidllm.core.errors import StoreRejected
from voidllm.core.principal import Limits
from voidllm.store import idempotency
from voidllm.store.pages import Page
from voidllm.store.records import KeyChange, KeyFilter, Named, Remembered

LATER = NOW + 1000


class ChangesSuite:
    """Behaviour that both stores share."""

    store: Any
    patch: Any
    assertEqual: Any
    assertIsNone: Any
    assertRaises: Any

    async def test_sorted_pages(self) -> None:
        """A list goes on after the last row that was seen, in either direction, equal names included."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        for name in ("b", "a", "b", "c"):
            await self.store.create_key(key(first.org, first.admin, name=name), NOW)
        wanted = KeyFilter(first.org.id, search=None)
        for sort, descending in (("name", False), ("name", True), ("id", True), ("created_at", False)):
            seen: list[Any] = []
            page = Page(2, sort, descending)
            while rows := await self.store.list_keys(wanted, page):
                seen += rows
                page = evolve(page, after=(rows[-1].name if sort == "name" else "", rows[-1].id))
            whole = await self.store.list_keys(wanted, Page(100, sort, descending))
            self.assertEqual(seen, whole, sort)
            self.assertEqual(len(seen), 5)
            order = [(k.name, k.id) if sort == "name" else (k.id, "") for k in seen]
            self.assertEqual(order, sorted(order, reverse=descending))
        with self.assertRaises(StoreRejected):
            await self.store.list_keys(wanted, Page(sort="hash"))

    async def test_filters(self) -> None:
        """Each filter leaves the keys that it names, and a search takes no character for a wildcard."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        mine = await self.store.create_key(key(first.org, first.admin, name="Nightly 50%_x"), NOW)
        await self.store.create_key(key(other, first.admin, name="theirs"), NOW)
        for wanted, expected in (
            (KeyFilter(first.org.id, search="NIGHT"), [mine.id]),
            (KeyFilter(search="50%_"), [mine.id]),
            (KeyFilter(search="5%x"), []),
            (KeyFilter(search="!"), []),
            (KeyFilter(first.org.id, user_id=first.admin.id), [first.key.id, mine.id]),
            (KeyFilter(user_id=new_id()), []),
            (KeyFilter(key_type="team_key"), []),
            (KeyFilter(team_id=new_id()), []),
            (KeyFilter(service_account_id=new_id()), []),
        ):
            found = [k.id for k in await self.store.list_keys(wanted)]
            self.assertEqual(sorted(found), sorted(expected), wanted)

    async def test_names(self) -> None:
        """Names of many ids come at once, of the kinds that have some."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        found = await self.store.named("user", [first.admin.id, new_id()])
        self.assertEqual(found, {first.admin.id: Named(first.admin.id, "User", None, first.admin.email)})
        found = await self.store.named("org", [first.org.id, first.org.id])
        self.assertEqual(found, {first.org.id: Named(first.org.id, "Org", first.org.slug)})
        for kind in ("team", "service_account"):
            self.assertEqual(await self.store.named(kind, [new_id()]), {})
        self.assertEqual(await self.store.named("team", []), {})
        for kind, ids in (("key", ["a"]), ("user", map(str, range(501)))):
            with self.assertRaises(StoreRejected):
                await self.store.named(kind, ids)

    async def test_guarded_change(self) -> None:
        """A key is changed only while it is what the change was decided on."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        made = await self.store.get_key(first.key.id)
        change = KeyChange("new", Limits(1, 0, 3), frozenset({"m"}), LATER)
        changed = await self.store.update_key(made.id, change, made.revision)
        self.assertEqual(changed, await self.store.get_key(made.id))
        self.assertEqual(
            (changed.name, changed.limits, changed.models, changed.expires_at_ms),
            ("new", change.limits, change.models, LATER),
        )
        self.assertEqual((changed.hash, changed.created_at_ms), (made.hash, made.created_at_ms))
        version = await self.store.change_version()
        self.assertIsNone(await self.store.update_key(made.id, evolve(change, name="lost"), made.revision))
        self.assertIsNone(await self.store.update_key(new_id(), change, 1))
        await self.store.revoke_key(made.id, NOW)
        revoked = await self.store.get_key(made.id)
        self.assertIsNone(await self.store.update_key(made.id, change, revoked.revision))
        self.assertEqual(await self.store.change_version(), version + 1)
        self.assertEqual(await self.store.get_key(made.id), revoked)

    async def test_many_changes_at_once(self) -> None:
        """Of changes that were decided on the same values one happens."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        work = [
            self.store.update_key(first.key.id, KeyChange(f"n{n}", Limits(), None, None), 1) for n in range(9)
        ]
        done = [result.name for one in work if (result := await one) is not None]
        self.assertEqual(len(done), 1)
        self.assertEqual((await self.store.get_key(first.key.id)).name, done[0])

    async def test_an_answer_is_kept(self) -> None:
        """The first request takes the key, later ones find out about it, others have keys of their own."""
        version = await self.store.change_version()
        self.assertIsNone(await self.store.idempotency_begin("me", "k", "f", NOW, LATER))
        self.assertEqual(await self.store.idempotency_begin("me", "k", "other", NOW, LATER), Remembered("f"))
        await self.store.idempotency_finish("me", "k", 201, '{"id": "ß"}')
        kept = Remembered("f", 201, '{"id": "ß"}')
        self.assertEqual(await self.store.idempotency_begin("me", "k", "f", NOW, LATER), kept)
        await self.store.idempotency_forget("me", "k")
        self.assertEqual(await self.store.idempotency_begin("me", "k", "f", NOW, LATER), kept)
        self.assertIsNone(await self.store.idempotency_begin("you", "k", "f", NOW, LATER))
        await self.store.idempotency_forget("you", "k")
        self.assertIsNone(await self.store.idempotency_begin("you", "k", "g", NOW, LATER))
        # It is nothing that a snapshot is built from.
        self.assertEqual(await self.store.change_version(), version)

    async def test_one_of_many_takes_a_key(self) -> None:
        """Of requests at the same time one runs."""
        work = [self.store.idempotency_begin("me", "k", "f", NOW, LATER) for _ in range(9)]
        results = [await one for one in work]
        self.assertEqual(sum(result is None for result in results), 1)

    async def test_answers_expire_and_are_bounded(self) -> None:
        """An expired answer is none; of one caller only so many are kept, the newest."""
        self.patch(idempotency, "MOST_PER_SUBJECT", 3)
        await self.store.idempotency_begin("me", "k", "f", NOW, LATER)
        self.assertIsNone(await self.store.idempotency_begin("me", "k", "g", LATER, LATER + 1))
        for n in range(6):
            self.assertIsNone(await self.store.idempotency_begin("me", f"n{n}", "f", LATER + 2 + n, 2 * NOW))
        await self.store.idempotency_begin("you", "k", "f", NOW, 2 * NOW)
        kept = []
        self.patch(idempotency, "MOST_PER_SUBJECT", 100)
        for n in range(6):
            if await self.store.idempotency_begin("me", f"n{n}", "f", LATER + 9, 2 * NOW):
                kept.append(n)
        self.assertEqual(kept, [3, 4, 5])


class SQLiteChangesTests(ChangesSuite, OnSQLite):
    """On SQLite."""


class PostgresChangesTests(ChangesSuite, OnPostgres):
    """On PostgreSQL."""
