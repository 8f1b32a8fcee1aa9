"""Tags: plain, few, and never anything else that a caller sends."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.usage_tags import MOST, joined, usable_header, with_headers

_WRITTEN = re.compile(r"([a-z0-9_.-]{1,64}:[a-z0-9_.-]{1,64}(,[a-z0-9_.-]{1,64}:[a-z0-9_.-]{1,64})*)?")


class TagTests(SynchronousTestCase):
    """Reading and writing."""

    def test_headers_replace_what_the_key_says(self) -> None:
        """A header's tag stands in for the key's of the same name; the others of both stay."""
        headers = [(b"x-project", b"beta"), (b"x-other", b"no"), (b"x-run", b"7")]
        self.assertEqual(
            with_headers("unit:a,x-project:alpha", headers, (b"x-project", b"x-run")),
            "unit:a,x-project:beta,x-run:7",
        )
        self.assertEqual(with_headers("unit:a", headers, (b"x-none",)), "unit:a")

    def test_odd_values_are_not_kept(self) -> None:
        """What is too long, has other characters or hides another tag is dropped."""
        for value in (b"", b"Alpha", b"a b", b"a,b:c", b"a:b", b"\xc3\xa4", b"a" * 65, b"a\n", b"a\x00"):
            self.assertEqual(with_headers("", [(b"x", value)], (b"x",)), "", value)

    def test_headers_with_secrets_are_no_tags(self) -> None:
        """Nobody can have keys or cookies counted."""
        for name in ("authorization", "cookie", "x-api-key", "X-Project", "x project", ""):
            self.assertFalse(usable_header(name), name)
        self.assertTrue(usable_header("x-project"))

    @given(st.dictionaries(st.text(max_size=70), st.text(max_size=70), max_size=20))
    def test_any_tags_are_plain_and_few(self, tags: dict[str, str]) -> None:
        """Whatever is in the database, what is written down has the one form and the cap."""
        written = joined(tags)
        self.assertIsNotNone(_WRITTEN.fullmatch(written))
        self.assertLessEqual(len(written.split(",")), MOST)
