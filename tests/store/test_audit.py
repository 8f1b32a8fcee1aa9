"""The audit log: its chain, what breaks it, what may leave it, and what never gets into it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.servers import postgres
from tests.store.support import NOW, OnPostgres, OnSQLite, new_id, world
from voidllm.audit_retention import drop_old_entries
from voidllm.core.world import World
from voidllm.store import audit, audit_diff, audit_read, audit_verify, open_store
from voidllm.store.audit import Author, Entry
from voidllm.store.audit_read import AuditFilter
from voidllm.store.audit_verify import Checked
from voidllm.store.changes import Changed
from voidllm.store.statements import Op, q

BOSS = Author("user", "u1", "Boss", "k1", "o1", None, "10.0.0.1", "r1")


def entries(count: int, **changes: Any) -> tuple[Entry, ...]:
    values = {"at_ms": NOW, "author": BOSS, "action": "update", "resource_type": "org", "diff": {"a": [1, 2]}}
    return tuple(Entry(**{"id": new_id(), **values, **changes}) for _ in range(count))


def run(sql: str, *values: Any) -> Op[None]:
    yield q(sql, *values)


class ChainSuite:
    """Behaviour that both stores share."""

    store: Any
    assertEqual: Any
    assertIsNone: Any
    assertTrue: Any

    async def _append(self, count: int, **changes: Any) -> None:
        await self.store.write(audit.append, entries(count, **changes))

    async def _whole(self) -> tuple[Checked, int]:
        seq, digest, looked = 0, "", 0
        while True:
            checked = await self.store.read(audit_verify.follow, seq, digest)
            looked += checked.entries
            if checked.done:
                return checked, looked
            seq, digest = checked.seq, checked.hash

    async def _fault(self) -> tuple[int | None, str | None]:
        checked, _ = await self._whole()
        return checked.fault_seq, checked.fault

    async def test_a_sound_chain(self) -> None:
        """An empty log and a long one are sound, with texts of every kind in them."""
        self.assertEqual(await self._fault(), (None, None))
        odd = Author("operator", None, "Zoë \U0001f600 \"quoted\" 'x'\\")
        await self._append(3, author=odd, org_id=None, diff={"ä": [None, {"b": [1.5, True]}]})
        await self._append(500)
        await self._append(700, error_code="forbidden", status=403)
        checked, looked = await self._whole()
        self.assertEqual((checked.fault, checked.seq, looked), (None, 1203, 1203))
        self.assertEqual(checked.hash, checked.head.hash)

    async def test_every_column_is_covered(self) -> None:
        """An entry in which anything at all was changed is found."""
        await self._append(5, org_id="o1", team_id="t1", resource_id="x1", error_code="")
        for column in audit.COLUMNS[1:]:
            ((before,),) = await self.store.read(_one, f"SELECT {column} FROM audit_log WHERE seq = 3")
            after = before + 1 if isinstance(before, int) else f"{before}x"
            await self.store.write(run, f"UPDATE audit_log SET {column} = ? WHERE seq = 3", after)
            self.assertEqual(await self._fault(), (3, "altered"), column)
            await self.store.write(run, f"UPDATE audit_log SET {column} = ? WHERE seq = 3", before)
        await self.store.write(run, "UPDATE audit_log SET hash = 'x' WHERE seq = 3")
        self.assertEqual(await self._fault(), (3, "altered"))

    async def test_what_is_missing_or_moved(self) -> None:
        """An entry that is gone, two that changed places, a cut tail, a foreign end and none are found."""
        await self._append(6)
        await self.store.write(run, "UPDATE audit_log SET seq = -1 WHERE seq = 2")
        self.assertEqual(await self._fault(), (2, "missing"))
        await self.store.write(run, "UPDATE audit_log SET seq = 2 WHERE seq = -1")
        for before, after in ((2, -2), (3, 2), (-2, 3)):
            await self.store.write(run, "UPDATE audit_log SET seq = ? WHERE seq = ?", after, before)
        self.assertEqual(await self._fault(), (2, "altered"))
        for before, after in ((2, -2), (3, 2), (-2, 3)):
            await self.store.write(run, "UPDATE audit_log SET seq = ? WHERE seq = ?", after, before)
        self.assertEqual(await self._fault(), (None, None))
        await self.store.write(run, "UPDATE audit_head SET seq = 5")
        self.assertEqual(await self._fault(), (6, "beyond_head"))
        await self.store.write(run, "UPDATE audit_head SET seq = 6")
        await self.store.write(run, "DELETE FROM audit_log WHERE seq > 4")
        self.assertEqual(await self._fault(), (5, "truncated"))
        await self.store.write(run, "UPDATE audit_head SET seq = 4")
        self.assertEqual(await self._fault(), (4, "altered"))
        beyond = await self.store.read(audit_verify.follow, 9, "x")
        self.assertEqual((beyond.fault_seq, beyond.fault), (5, "truncated"))
        await self.store.write(run, "DELETE FROM audit_log")
        self.assertEqual(await self._fault(), (1, "truncated"))
        await self.store.write(run, "DELETE FROM audit_head")
        self.assertEqual(await self._fault(), (0, "headless"))

    async def test_old_entries_are_dropped(self) -> None:
        """What is old goes, in pieces and in order; the rest is sound at once, and grows on."""
        await self._append(7, at_ms=NOW - 100)
        await self._append(2, at_ms=NOW)
        await self._append(1, at_ms=NOW - 100)
        self.assertEqual(await self.store.write(audit_verify.drop_before, NOW - 100), 0)
        self.assertEqual(await self.store.write(audit_verify.drop_before, NOW, 4), 4)
        self.assertEqual(await self._fault(), (None, None))
        self.assertEqual(await self.store.write(audit_verify.drop_before, NOW, 4), 3)
        self.assertEqual(await self.store.write(audit_verify.drop_before, NOW), 0)
        await self._append(1)
        checked, looked = await self._whole()
        self.assertEqual((checked.fault, checked.seq, looked), (None, 11, 4))
        # Somebody who was half-way when it was dropped goes on.
        self.assertIsNone((await self.store.read(audit_verify.follow, 3, "x")).fault)
        await self.store.write(run, "DELETE FROM audit_log WHERE seq = 8")
        self.assertEqual(await self._fault(), (8, "missing"))
        self.assertEqual(await self.store.write(audit_verify.drop_before, NOW + 1), 3)
        await self.store.write(run, "DELETE FROM audit_log")

    async def test_writers_at_the_same_time(self) -> None:
        """Entries of many writers stand one behind the other."""
        await gatherResults([self.store.note(entries(3)) for _ in range(20)])
        checked, looked = await self._whole()
        self.assertEqual((checked.fault, looked), (None, 60))

    async def test_a_change_and_its_entry_are_one(self) -> None:
        """No change without its entry, no entry without its change, and no secret in one."""

        def failing() -> Op[Changed[None]]:
            yield q("UPDATE audit_head SET seq = 99")
            raise RuntimeError("no")

        def done() -> Op[Changed[None]]:
            yield q("SELECT 1")
            before = {"name": "a", "client_secret": "s3cret", "same": 1}
            return Changed(
                None, "update", "org", "o1", before=before, after={**before, "client_secret": "n3w"}
            )

        try:
            await self.store.change(BOSS, failing)
        except RuntimeError:
            pass
        self.assertEqual(await self.store.read(audit_read.entries, AuditFilter(), 9, None), [])
        await self.store.change(BOSS, done)
        (entry,) = await self.store.read(audit_read.entries, AuditFilter(), 9, None)
        self.assertEqual(entry.diff, {"client_secret": ["[redacted]", "[redacted]"]})
        self.assertEqual(await self._fault(), (None, None))


def _one(sql: str) -> Op[Any]:
    return (yield q(sql))


class SQLiteChainTests(ChainSuite, OnSQLite):
    """On SQLite."""


class PostgresChainTests(ChainSuite, OnPostgres):
    """On PostgreSQL."""

    async def test_two_boxes(self) -> None:
        """Two boxes that share a database write one chain without a fork."""
        dsn = postgres().create_database()
        boxes = [open_store(world(), "postgres", dsn, connections=3) for _ in range(2)]
        for box in boxes:
            await box.start()
            self.addCleanup(box.stop)
        await gatherResults([box.note(entries(2)) for _ in range(25) for box in boxes])
        checked = await boxes[0].read(audit_verify.follow, 0, "")
        self.assertEqual((checked.fault, checked.seq, checked.done), (None, 100, True))


class WhatIsKept(SynchronousTestCase):
    """Differences as they are stored."""

    def _kept(self, name: str, value: Any) -> Any:
        return json.loads(audit_diff.kept({name: [None, value]}))

    def test_fields_with_secret_names(self) -> None:
        """What a field of such a name holds is not kept, however deep it is; that it changed is."""
        for name in ("password", "clientSecret", "api_key", "key", "token", "totp_code", "recovery_codes"):
            self.assertEqual(self._kept(name, "canary"), {name: [None, "[redacted]"]})
            self.assertNotIn("canary", audit_diff.kept({"x": [{"y": [{name: {"z": "canary"}}]}, None]}))
        for name in ("key_hint", "key_id", "tokens_per_day", "daily_token_limit", "token_url", "models"):
            self.assertEqual(self._kept(name, "shown"), {name: [None, "shown"]})
        self.assertEqual(self._kept("must_change_password", True), {"must_change_password": [None, True]})

    def test_values_that_look_like_secrets(self) -> None:
        """A key that somebody put into a name, or an address with a password, is not kept either."""
        for value in (
            "mine: vl_uk_0123456789abcdef0123",
            "sk-abcdefghijklmnopqrstuvwx",
            "https://user:0123456789abcdef@example.org/x",
            "https://example.org/x?api-key=0123456789abcdef",
            "-----BEGIN PRIVATE KEY-----0123456789abcdef",
        ):
            self.assertNotIn("0123456789abcdef", audit_diff.kept({"name": ["x", value]}))
            self.assertNotIn("ghijklmn", audit_diff.kept({"name": ["x", value]}))
        self.assertEqual(self._kept("key_hint", "vl_uk_...beef"), {"key_hint": [None, "vl_uk_...beef"]})

    def test_long_things_are_cut(self) -> None:
        """Texts, lists, depths and the whole are bounded, with a mark where something is left out."""
        self.assertEqual(self._kept("x", "y" * 1000)["x"][1], "y" * 500 + audit_diff.CUT)
        self.assertEqual(self._kept("x", list(range(200)))["x"][1][99:], [99, audit_diff.CUT])
        deep: Any = "x"
        for _ in range(50):
            deep = [deep]
        self.assertIn(audit_diff.CUT, audit_diff.kept({"x": [deep, None]}))
        wide = {f"field{n}": ["a" * 400, "b"] for n in range(100)}
        text = audit_diff.kept(wide)
        self.assertLessEqual(len(text), audit_diff.MOST_BYTES)
        self.assertEqual(len(json.loads(text)), 100)
        many = audit_diff.kept({f"field{n}": [1, 2] for n in range(3000)})
        self.assertLessEqual(len(many), audit_diff.MOST_BYTES)

    @given(
        st.dictionaries(
            st.text(max_size=80),
            st.lists(st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists), min_size=2),
            max_size=5,
        )
    )
    def test_anything_at_all(self, diff: Any) -> None:
        """Whatever a difference holds, it is stored as JSON of bounded size."""
        text = audit_diff.kept(diff)
        json.loads(text)
        self.assertLessEqual(len(text), audit_diff.MOST_BYTES)


class OldEntries(SynchronousTestCase):
    """What is too old goes by itself."""

    def test_they_are_dropped_in_pieces(self) -> None:
        """Everything that is older than it is kept goes, with pauses; nothing if all is kept."""
        clock = Clock()
        here = World(reactor=clock, in_thread=succeed, wall_ms=lambda: NOW, rng=Random(1))
        store: Any = open_store(here, "sqlite", ":memory:")
        self.successResultOf(store.start())
        for at_ms in (NOW - 1000, NOW):
            self.successResultOf(store.write(audit.append, entries(700, at_ms=at_ms)))
        self.successResultOf(ensureDeferred(drop_old_entries(here, store, lambda: 0, NOW)))
        head = self.successResultOf(store.read(audit_verify.head))
        self.assertEqual(head.dropped_seq, 0)
        done = ensureDeferred(drop_old_entries(here, store, lambda: 500, NOW))
        clock.pump([0.1] * 3)
        self.successResultOf(done)
        checked = self.successResultOf(store.read(audit_verify.follow, 0, ""))
        self.assertEqual((checked.head.dropped_seq, checked.fault), (700, None))
        self.successResultOf(store.stop())
