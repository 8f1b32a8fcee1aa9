"""The secrets of one sign-on, all made from one cookie, so that nothing is kept while people log in.

The cookie holds a random number; ``state``, ``nonce`` and the PKCE verifier (RFC 7636) are keyed
digests of it. Whoever comes back with a state but without its cookie is in another browser, and
nobody who lacks the key can make a cookie that fits a state.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import Callable

from attrs import field, frozen

from voidllm.auth.oidc import SignOnRefused

#: How long people may take at their identity provider.
LIFETIME_MS = 10 * 60 * 1000

_RANDOM_BYTES = 16
_COOKIE = re.compile(r"([0-9A-Za-z-]{0,64})\.([0-9]{1,15})\.[0-9a-f]{32}")

Digest = Callable[[bytes], bytes]


@frozen
class Flow:
    """One sign-on that was begun.

    :ivar cookie: what the browser keeps meanwhile.
    :ivar org_id: whose provider it is at; ``None`` for the installation's.
    :ivar state: what comes back with the browser.
    :ivar nonce: what the ID token must hold.
    :ivar verifier: what proves to the provider that the code comes from whom it was made for.
    """

    cookie: str = field(repr=False)
    org_id: str | None
    expires_at_ms: int
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    @property
    def challenge(self) -> str:
        """The verifier's S256 challenge."""
        return _text(hashlib.sha256(self.verifier.encode("ascii")).digest())


def begin(org_id: str | None, now_ms: int, random_bytes: Callable[[int], bytes], digest: Digest) -> Flow:
    """Begin a sign-on.

    :param digest: a keyed digest, the same in every process.
    """
    expires_at_ms = now_ms + LIFETIME_MS
    return _flow(f"{org_id or ''}.{expires_at_ms}.{random_bytes(_RANDOM_BYTES).hex()}", digest)


def resume(cookie: str | None, state: str | None, now_ms: int, digest: Digest) -> Flow:
    """Find the sign-on that somebody comes back from.

    :raises SignOnRefused: ``invalid_state`` if it is not this browser's, or too old.
    """
    if not cookie or not state or _COOKIE.fullmatch(cookie) is None:
        raise SignOnRefused("invalid_state", "the cookie or the state is missing")
    flow = _flow(cookie, digest)
    if not hmac.compare_digest(flow.state.encode("ascii"), state.encode("utf-8", "replace")):
        raise SignOnRefused("invalid_state", "the state is not this browser's")
    if not now_ms < flow.expires_at_ms <= now_ms + LIFETIME_MS:
        raise SignOnRefused("invalid_state", "it took too long")
    return flow


def used_once(flow: Flow) -> str:
    """Give what a used sign-on is remembered by, from which nothing of it can be made."""
    return hashlib.sha256(flow.state.encode("ascii")).hexdigest()


def _flow(cookie: str, digest: Digest) -> Flow:
    org_id, expires, _ = cookie.split(".")
    state, nonce, verifier = (
        _text(digest(b"voidllm oidc " + what + b" " + cookie.encode("ascii")))
        for what in (b"state", b"nonce", b"verifier")
    )
    return Flow(cookie, org_id or None, int(expires), state, nonce, verifier)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")
