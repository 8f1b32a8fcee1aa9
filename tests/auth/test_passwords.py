"""Password hashes."""

from __future__ import annotations

from typing import Any, Callable

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.passwords import MAX_CHARACTERS, Passwords, hash_password
from voidllm.core.errors import Refusal
from voidllm.core.world import World

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class PasswordTests(SynchronousTestCase):
    """Hash and verify, with threads that run at once or when told."""

    def setUp(self) -> None:
        """Make passwords that are cheap to check."""
        self.calls = 0
        self.passwords = Passwords(World(reactor=Clock(), in_thread=self._at_once), CHEAP)

    def _at_once(self, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.calls += 1
        return maybeDeferred(f, *args)

    def _verify(self, stored: str | None, password: str) -> bool:
        return self.successResultOf(self.passwords.verify(stored, password))

    def test_round_trip(self) -> None:
        """The right password verifies, in a thread, and others do not."""
        stored = self.successResultOf(self.passwords.hash("correct horse"))
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertTrue(self._verify(stored, "correct horse"))
        self.assertFalse(self._verify(stored, "Correct horse"))
        self.assertEqual(self.calls, 3)

    def test_no_user(self) -> None:
        """Without a stored hash the answer is no, and as much is computed for it."""
        self.assertFalse(self._verify(None, "anything"))
        self.assertFalse(self._verify(None, "nobody has this password"))
        self.assertEqual(self.calls, 2)

    def test_unusable(self) -> None:
        """Empty and overlong passwords and lone surrogates are refused, and never match."""
        stored = self.successResultOf(self.passwords.hash("x" * MAX_CHARACTERS))
        for password in ("", "x" * (MAX_CHARACTERS + 1), "\ud800"):
            refusal = self.failureResultOf(self.passwords.hash(password), Refusal).value
            self.assertEqual((refusal.status, refusal.param), (400, "password"))
            self.assertFalse(self._verify(stored, password))

    def test_damaged_hash(self) -> None:
        """A stored text that is no hash matches nothing."""
        self.assertFalse(self._verify("plain", "plain"))
        self.assertTrue(self.passwords.outdated("plain"))

    def test_outdated(self) -> None:
        """A hash of weaker settings is told apart."""
        stored = CHEAP.hash("x")
        self.assertFalse(self.passwords.outdated(stored))
        self.assertTrue(Passwords(World(reactor=Clock(), in_thread=self._at_once)).outdated(stored))

    def test_few_at_a_time(self) -> None:
        """Two computations run at a time, some wait, and more than that are refused."""
        running: list[Deferred[Any]] = []

        def later(f: Callable[..., Any], *args: Any) -> Deferred[Any]:
            running.append(Deferred())
            return running[-1]

        passwords = Passwords(World(reactor=Clock(), in_thread=later), CHEAP)
        waiting = [passwords.verify("h", "p") for _ in range(34)]
        self.assertEqual(len(running), 2)
        refusal = self.failureResultOf(passwords.verify("h", "p"), Refusal).value
        self.assertEqual(refusal.status, 503)
        for d in running:
            d.callback(True)
        self.assertEqual(len(running), 34)
        self.assertTrue(all(self.successResultOf(d) for d in waiting))

    def test_one_keeps_nobody_out(self) -> None:
        """Of one organisation a few hashes are made at a time, and strangers leave places to the known."""
        running: list[Deferred[Any]] = []

        def later(f: Callable[..., Any], *args: Any) -> Deferred[Any]:
            running.append(Deferred())
            return running[-1]

        passwords = Passwords(World(reactor=Clock(), in_thread=later), CHEAP)
        made = [passwords.hash("p", "org") for _ in range(4)]
        self.assertEqual(self.failureResultOf(passwords.hash("p", "org"), Refusal).value.status, 503)
        asked = [passwords.verify("h", "p", known=False) for _ in range(22)]
        for refused in (passwords.verify("h", "p", known=False), passwords.hash("p", "another")):
            self.assertEqual(self.failureResultOf(refused, Refusal).value.status, 503)
        asked.append(passwords.verify("h", "p", known=True))
        for d in running:
            d.callback(True)
        self.assertTrue(all(self.successResultOf(d) for d in (*made, *asked)))
        again = passwords.hash("p", "org")
        running[-1].callback("hashed")
        self.assertEqual(self.successResultOf(again), "hashed")

    def test_shipped_settings(self) -> None:
        """The settings for real passwords are those of RFC 9106 for 64 MiB."""
        stored = self.successResultOf(
            hash_password(World(reactor=Clock(), in_thread=self._at_once), "a password")
        )
        self.assertIn("$m=65536,t=3,p=4$", stored)
