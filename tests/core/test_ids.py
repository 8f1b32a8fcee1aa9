"""Identifiers: form, order and how randomness is used."""

import os
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.ids import IdSource, uuid7

NOW_MS = 1_790_000_000_123


class IdTests(SynchronousTestCase):
    """UUIDv7, made singly or one after the other."""

    def test_form(self) -> None:
        """An id is a lower-case UUID of version 7 whose first 48 bits are the time."""
        for one in (uuid7(NOW_MS, os.urandom), IdSource(os.urandom)(NOW_MS)):
            parsed = UUID(one)
            self.assertEqual(str(parsed), one)
            self.assertEqual((parsed.version, parsed.variant), (7, "specified in RFC 4122"))
            self.assertEqual(parsed.int >> 80, NOW_MS)

    def test_every_random_bit_is_used(self) -> None:
        """All of the 74 random bits come from the source, in their order."""
        ones = UUID(uuid7(0, lambda size: b"\xff" * size))
        self.assertEqual(str(ones), "00000000-0000-7fff-bfff-ffffffffffff")
        self.assertEqual(uuid7(0, bytes), "00000000-0000-7000-8000-000000000000")
        self.assertEqual(IdSource(lambda size: b"\xff" * size)(0), str(ones))

    def test_source_never_repeats_itself(self) -> None:
        """Randomness that was fetched for many ids at once is used for one each."""
        source = IdSource(os.urandom)
        self.assertEqual(len({source(NOW_MS) for _ in range(2000)}), 2000)

    def test_source_waits_for_the_first_id(self) -> None:
        """No randomness is fetched before an id is wanted, so a fork before that is harmless."""
        asked: list[int] = []

        def random_bytes(size: int) -> bytes:
            asked.append(size)
            return os.urandom(size)

        source = IdSource(random_bytes)
        self.assertEqual(asked, [])
        source(NOW_MS)
        source(NOW_MS)
        self.assertEqual(len(asked), 1)
