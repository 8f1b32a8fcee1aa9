"""Sessions of people who have logged in: how long they live, and what is told of them."""

from __future__ import annotations

import hmac
import re
from typing import Callable

from attrs import frozen

from voidllm.auth.keys import PREFIXES

_MINUTE = 60_000
_HOUR = 60 * _MINUTE

#: How old the stored time of the last request may become before it is written again.
SEEN_EVERY_MS = _MINUTE
#: Sessions that one person can have; the one that was longest unused makes room.
MOST_PER_USER = 100

_PREFIX = PREFIXES["session_key"]
_SECRET_BYTES = 16
_SEAL_DIGITS = 16
_LENGTH = len(_PREFIX) + 2 * _SECRET_BYTES + _SEAL_DIGITS

# The first that fits counts: most browsers name others as well.
_FAMILIES = (
    ("Edge", re.compile(r"\bEdgA?(iOS)?/")),
    ("Opera", re.compile(r"\bOPR/")),
    ("Firefox", re.compile(r"\b(Firefox|FxiOS)/")),
    ("Chrome", re.compile(r"\b(Chrome|CriOS|Chromium)/")),
    ("Safari", re.compile(r"\bSafari/")),
    ("curl", re.compile(r"\Acurl/")),
    ("Python", re.compile(r"\A(python|Python|aiohttp|treq)")),
)
_SYSTEMS = (
    ("Android", re.compile(r"\bAndroid\b")),
    ("iOS", re.compile(r"\b(iPhone|iPad|iPod)\b")),
    ("Windows", re.compile(r"\bWindows\b")),
    ("macOS", re.compile(r"\b(Macintosh|Mac OS X)\b")),
    ("ChromeOS", re.compile(r"\bCrOS\b")),
    ("Linux", re.compile(r"\b(Linux|X11)\b")),
)
_LOOKED_AT = 512


@frozen
class SessionRules:
    """How long sessions live, in milliseconds.

    :ivar idle_ms: without a request.
    :ivar longest_ms: in all, however much they are used.
    """

    idle_ms: int = 12 * _HOUR
    longest_ms: int = 7 * 24 * _HOUR

    def ends_ms(self, seen_ms: int, expires_ms: int) -> int:
        """Give when a session ends if it is not used any more."""
        return min(seen_ms + self.idle_ms, expires_ms)

    def alive(self, seen_ms: int, expires_ms: int, now_ms: int) -> bool:
        """Say whether a session may still be used."""
        return now_ms < self.ends_ms(seen_ms, expires_ms)


def new_token(random_bytes: Callable[[int], bytes], digest: Callable[[bytes], bytes]) -> str:
    """Make the token of a session: ``vl_sk_``, 32 random hex digits, and 16 that vouch for them.

    So a token that was made up is known for one without asking a database.

    :param digest: a keyed one.
    """
    begin = _PREFIX + random_bytes(_SECRET_BYTES).hex()
    return begin + _seal(begin, digest)


def is_genuine(token: str, digest: Callable[[bytes], bytes]) -> bool:
    """Say whether a token was made here; whether its session still lives is another question."""
    if len(token) != _LENGTH or not token.isascii() or not token.startswith(_PREFIX):
        return False
    return hmac.compare_digest(_seal(token[:-_SEAL_DIGITS], digest), token[-_SEAL_DIGITS:])


def _seal(begin: str, digest: Callable[[bytes], bytes]) -> str:
    return digest(b"session\0" + begin.encode("ascii")).hex()[:_SEAL_DIGITS]


def agent_family(user_agent: str) -> str:
    """Give browser and system of a ``User-Agent``, and nothing else of it.

    What a caller sends is never kept as it is; what is not known is ``other``.
    """
    text = user_agent[:_LOOKED_AT]
    family = next((name for name, pattern in _FAMILIES if pattern.search(text)), "other")
    system = next((name for name, pattern in _SYSTEMS if pattern.search(text)), "")
    return f"{family} on {system}" if system else family
