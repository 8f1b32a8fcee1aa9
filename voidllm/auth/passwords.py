"""Passwords, kept as argon2id hashes (RFC 9106)."""

from __future__ import annotations

from typing import Any, Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import Deferred, DeferredSemaphore, fail

from voidllm.core.errors import Refusal
from voidllm.core.world import World

MAX_CHARACTERS = 256

# RFC 9106 section 4, second recommendation.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
# Each computation takes 64 MiB: strangers who log in must not decide how many run.
_AT_ONCE = 2
_WAITING = 32
# The last places are for those who logged in from where they are before.
_STRANGERS = 24
# Whoever makes many accounts, or follows many invitations, takes their turns one after the other.
_EACH = 4
# Without those that look like another one.
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def hash_password(world: World, password: str) -> Deferred[str]:
    """Give the hash to store for ``password``, computed off the reactor.

    For commands of operators; what strangers can reach uses :class:`Passwords`, which has
    a bound. The Deferred fails with a 400 :class:`~voidllm.core.errors.Refusal` for a
    password that is empty or too long.
    """
    return Passwords(world).hash(password)


def new_password(random_bytes: Callable[[int], bytes], length: int = 20) -> str:
    """Make a password that people can read and type; 20 characters have 116 bits."""
    # Rejection sampling: a remainder would favour some letters.
    letters: list[str] = []
    while len(letters) < length:
        byte = random_bytes(1)[0]
        if byte < len(_LETTERS) * (256 // len(_LETTERS)):
            letters.append(_LETTERS[byte % len(_LETTERS)])
    return "".join(letters)


class Passwords:
    """Makes and checks password hashes off the reactor, a few at a time.

    :param hasher: tests give a cheaper one.
    """

    def __init__(self, world: World, hasher: PasswordHasher = _HASHER) -> None:
        self._in_thread = world.in_thread
        self._hasher = hasher
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._decoy: str | None = None
        self._hashing: dict[str, int] = {}

    def hash(self, password: str, whose: str = "") -> Deferred[str]:
        """Give the hash to store for ``password``.

        The Deferred fails with a 400 :class:`~voidllm.core.errors.Refusal` for an empty or
        overlong password, and with a 503 one if too many computations are waiting, or too
        many of the same ``whose``.

        :param whose: an organisation; no guess is counted here, and one must not keep the others out.
        """
        if not _acceptable(password):
            problem = f"a password has 1 to {MAX_CHARACTERS} characters"
            return fail(Refusal(400, "bad_request", problem, param="password"))
        if not whose:
            return self._run(_WAITING, self._hasher.hash, password)
        running = self._hashing.get(whose, 0)
        if running >= _EACH:
            return fail(_too_many())
        self._hashing[whose] = running + 1
        return self._run(_STRANGERS, self._hasher.hash, password).addBoth(self._hashed, whose)

    def _hashed(self, result: Any, whose: str) -> Any:
        self._hashing[whose] -= 1
        if not self._hashing[whose]:
            del self._hashing[whose]
        return result

    def verify(self, stored: str | None, password: str, *, known: bool = True) -> Deferred[bool]:
        """Say whether ``password`` is the one that ``stored`` was made from.

        :param stored: ``None`` when there is no such user or no password; the answer is then
            no, and takes as long as any other, so that it tells nobody which users exist.
        :param known: whether a right one was seen from the same client before.
        """
        if not _acceptable(password):
            # Nothing was ever made from it; the work is done all the same.
            stored, password = None, ""
        return self._run(_WAITING if known else _STRANGERS, self._verify, stored, password)

    def outdated(self, stored: str) -> bool:
        """Say whether a hash was made with weaker settings and should be made anew at login."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return True

    def _verify(self, stored: str | None, password: str) -> bool:
        if stored is None:
            if self._decoy is None:
                self._decoy = self._hasher.hash("nobody has this password")
            self._matches(self._decoy, password)
            return False
        return self._matches(stored, password)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _run(self, most: int, f: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if len(self._turns.waiting) >= most:
            return fail(_too_many())
        return self._turns.run(self._in_thread, f, *args)


def _too_many() -> Refusal:
    return Refusal(503, "service_unavailable", "too many logins at the same time", retry_after_ms=1000)


def _acceptable(password: str) -> bool:
    # A lone surrogate has no UTF-8; the error that says so would carry the password.
    return 0 < len(password) <= MAX_CHARACTERS and not any("\ud800" <= c <= "\udfff" for c in password)
