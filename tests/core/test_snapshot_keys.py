"""All keys of a snapshot: what is shared from one to the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.principal import Limits, Principal, Scope
from voidllm.core.snapshot_keys import EMPTY_TABLE, KeyDraft, Shared, batches, key_table

_digests = st.binary(min_size=2, max_size=2)
_steps = st.lists(st.tuples(_digests, st.none() | st.sampled_from(["a", "b"])), max_size=30)


def principal(name: str, limits: Limits | None = None) -> Principal:
    """Make one whose texts nobody else has."""
    org = "".join(["o", "rg"])
    scopes = [Scope("org", org, Limits(7))]
    if limits is not None:
        scopes.insert(0, Scope("key", name, limits))
    return Principal(name, "user_key", name, org, scopes=frozenset([org]), counted=tuple(scopes))


class TableTests(SynchronousTestCase):
    """Tables against plain dicts."""

    @given(_steps, _steps)
    def test_like_a_dict(
        self, first: list[tuple[bytes, str | None]], more: list[tuple[bytes, str | None]]
    ) -> None:
        """Whatever is put in and dropped, each table is what a dict would be, and stays so."""
        known: dict[bytes, Principal] = {}
        table = EMPTY_TABLE
        for steps in (first, more):
            before, copy = table, dict(known)
            draft = KeyDraft(table)
            for digest, name in steps:
                if name is None:
                    draft.drop(digest)
                    known.pop(digest, None)
                else:
                    known[digest] = principal(name)
                    draft.put(digest, known[digest])
                self.assertEqual(draft.get(digest), known.get(digest))
            table = draft.done()
            self.assertEqual(dict(before), copy)
            self.assertEqual(dict(table), known)
            self.assertEqual(len(table), len(known))
            self.assertEqual(table, key_table(known))
            changed, gone = table.since(before)
            self.assertEqual({**{k: v for k, v in copy.items() if k not in gone}, **changed}, known)
            self.assertEqual(set(gone), set(copy) - set(known))
            pieces = list(batches(table, 3))
            self.assertEqual({key for piece in pieces for key in piece}, set(known))
            self.assertTrue(all(0 < len(piece) <= 3 for piece in pieces))

    def test_parts_are_used_again(self) -> None:
        """A table that was built anew of the same objects shares all but what is different."""
        objects = {bytes([n, m]): principal("x") for n in range(20) for m in range(5)}
        old = key_table(objects)
        draft = KeyDraft(EMPTY_TABLE)
        for digest, one in objects.items():
            draft.put(digest, one)
        draft.put(b"\x03\x03", principal("other"))
        for _ in draft.share(old):
            pass
        new = draft.done()
        self.assertFalse(new.same(old))
        self.assertEqual(
            [n for n, (a, b) in enumerate(zip(old.shards(), new.shards(), strict=True)) if a is not b], [3]
        )
        draft = KeyDraft(new)
        draft.put(b"\x03\x03", objects[b"\x03\x03"])
        for _ in draft.share(old):
            pass
        self.assertTrue(draft.done().same(old))


class SharedTests(SynchronousTestCase):
    """Equal values are one object."""

    def test_principals(self) -> None:
        """Two of one organisation share what is equal, and are what they were."""
        shared = Shared()
        for limits in (None, Limits(1)):
            one, two = (shared.principal(principal("a", limits)) for _ in range(2))
            self.assertEqual(one, principal("a", limits))
            self.assertIs(one.org_id, two.org_id)
            self.assertIs(one.scopes, two.scopes)
            self.assertIs(one.counted[-1], two.counted[-1])
            self.assertIs(one.counted[0].limits, two.counted[0].limits)

    def test_bound(self) -> None:
        """What is remembered has a bound."""
        shared = Shared(3)
        text = "".join(["a", "b"])
        self.assertIs(shared(text), text)
        for number in range(5):
            shared(str(number))
        shared.trim()
        again = "".join(["a", "b"])
        self.assertIs(shared(again), again)
