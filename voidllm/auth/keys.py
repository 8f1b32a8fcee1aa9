"""API keys: what they look like, and how they are made and shown."""

from __future__ import annotations

from typing import Callable, Mapping

#: What kind of key begins how.
PREFIXES: Mapping[str, str] = {
    "user_key": "vl_uk_",
    "team_key": "vl_tk_",
    "sa_key": "vl_sa_",
    "session_key": "vl_sk_",
    "invite_token": "vl_iv_",
    "reset_token": "vl_rt_",
}

_SECRET_BYTES = 24
_PREFIX_LENGTH = 6
_LENGTH = _PREFIX_LENGTH + 2 * _SECRET_BYTES
_KNOWN = frozenset(prefix.encode("ascii") for prefix in PREFIXES.values())
_SHORT = 10


def generate(kind: str, random_bytes: Callable[[int], bytes]) -> str:
    """Make a key: the prefix of its kind and 48 hex digits, 54 characters in all.

    :param kind: one of :data:`PREFIXES`.
    :param random_bytes: cryptographic randomness.
    """
    return PREFIXES[kind] + random_bytes(_SECRET_BYTES).hex()


def hint(key: str) -> str:
    """Give what may be shown of a key: its first six and last four characters.

    A text of at most ten characters is given back unchanged.
    """
    return key if len(key) <= _SHORT else f"{key[:6]}...{key[-4:]}"


def looks_like_key(key: bytes) -> bool:
    """Say whether ``key`` has the prefix and length of a key; nothing is said of the rest."""
    return len(key) == _LENGTH and key[:_PREFIX_LENGTH] in _KNOWN
