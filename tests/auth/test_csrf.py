"""Whose page sent a request."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth import csrf


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(b"key" + data).digest()


class Tokens(SynchronousTestCase):
    """Bound to one session."""

    def test_fits_its_session_only(self) -> None:
        """The token of one session does not fit another one, nor anything else one."""
        token = csrf.token_of(_digest, "one")
        self.assertTrue(csrf.fits(_digest, "one", token))
        for given_token in (csrf.token_of(_digest, "two"), None, "", "\u00e9", token.upper(), token[:-1]):
            self.assertFalse(csrf.fits(_digest, "one", given_token))


class Origins(SynchronousTestCase):
    """``Origin`` and ``Sec-Fetch-Site``."""

    def test_origins(self) -> None:
        """Scheme, host and port must be the same, however the usual port is written."""
        for origin, host, secure, expected in (
            ("http://box:8080", "box:8080", False, True),
            ("http://BOX:8080", "box:8080", False, True),
            ("http://box", "box:80", False, True),
            ("https://box", "box", True, True),
            ("https://box:443", "box", True, True),
            ("http://[::1]:8080", "[::1]:8080", False, True),
            ("http://box", "box", True, False),
            ("https://box", "box", False, False),
            ("http://box:8081", "box:8080", False, False),
            ("http://box.example", "box", False, False),
            ("http://evil/box", "box", False, False),
            ("http://box@evil", "box", False, False),
            ("null", "box", False, False),
            ("", "box", False, False),
            ("http://", "", False, False),
            ("http://box:x", "box", False, False),
        ):
            self.assertEqual(csrf.same_origin(origin, None, host, secure), expected, origin)

    def test_without_an_origin(self) -> None:
        """Then the browser's own word counts; a program says neither."""
        for site, expected in (
            (None, True),
            ("same-origin", True),
            ("none", True),
            ("same-site", False),
            ("cross-site", False),
            ("x", False),
        ):
            self.assertEqual(csrf.same_origin(None, site, "box", False), expected, site)

    @given(st.text(), st.text(), st.booleans())
    def test_anything(self, origin: str, host: str, secure: bool) -> None:
        """Whatever is sent makes no error."""
        self.assertIn(csrf.same_origin(origin, None, host, secure), (True, False))
