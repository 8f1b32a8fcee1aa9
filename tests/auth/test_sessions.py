"""Tokens of sessions, how long they live, and what is told of the program."""

from __future__ import annotations

import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.keys import looks_like_key
from voidllm.auth.sessions import SessionRules, agent_family, is_genuine, new_token

HOUR = 3_600_000


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(b"key" + data).digest()


def _other(data: bytes) -> bytes:
    return hashlib.sha256(b"other" + data).digest()


class Tokens(SynchronousTestCase):
    """Made here, and told from what was made up."""

    def test_made(self) -> None:
        """A token looks like a key, is genuine here, and with another key is not."""
        token = new_token(os.urandom, _digest)
        self.assertTrue(looks_like_key(token.encode()))
        self.assertTrue(is_genuine(token, _digest))
        self.assertFalse(is_genuine(token, _other))
        self.assertNotEqual(token, new_token(os.urandom, _digest))

    def test_altered(self) -> None:
        """With any one character changed it is not genuine."""
        token = new_token(os.urandom, _digest)
        for at in range(len(token)):
            letter = "0" if token[at] != "0" else "1"
            self.assertFalse(is_genuine(token[:at] + letter + token[at + 1 :], _digest))

    @given(
        st.text()
        | st.text(st.sampled_from("0123456789abcdef"), min_size=48, max_size=48).map("vl_sk_".__add__)
    )
    def test_made_up(self, text: str) -> None:
        """Nothing that was made up is genuine, and nothing makes an error."""
        self.assertFalse(is_genuine(text, _digest))


class Lives(SynchronousTestCase):
    """Idle and absolute ends."""

    def test_whichever_is_first(self) -> None:
        """A session ends when it is unused for too long, or at its last moment."""
        rules = SessionRules(2 * HOUR, 10 * HOUR)
        self.assertEqual(rules.ends_ms(HOUR, 10 * HOUR), 3 * HOUR)
        self.assertEqual(rules.ends_ms(9 * HOUR, 10 * HOUR), 10 * HOUR)
        self.assertTrue(rules.alive(HOUR, 10 * HOUR, 3 * HOUR - 1))
        self.assertFalse(rules.alive(HOUR, 10 * HOUR, 3 * HOUR))


class Agents(SynchronousTestCase):
    """Families, and never more of what was sent."""

    def test_families(self) -> None:
        """Browsers are told apart although they name each other."""
        webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
        for text, family in (
            (
                f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/142.0 Safari/537.36",
                "Chrome on Windows",
            ),
            (
                f"Mozilla/5.0 (Windows NT 10.0) {webkit} Chrome/142.0 Safari/537.36 Edg/142.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18.0 Safari/605.1", "Safari on macOS"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", "Safari on iOS"),
            (
                f"Mozilla/5.0 (Linux; Android 15) {webkit} Chrome/142.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("curl/8.5.0", "curl"),
            ("python-requests/2.32", "Python"),
            ("", "other"),
        ):
            self.assertEqual(agent_family(text), family)

    @given(st.text())
    def test_nothing_else_is_kept(self, text: str) -> None:
        """Whatever is sent, the answer is one of a few words."""
        self.assertLessEqual(len(agent_family(text)), 20)
        self.assertNotIn("canary", agent_family(f"canary {text}"))
