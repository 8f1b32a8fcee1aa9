"""Requests that a browser sends by itself are told from those that our own pages send.

A cookie goes along with a request whoever's page causes it. So a request that changes something
must also carry a token that another site's page cannot read, and may not come from another origin.
The token is an HMAC of the session's own, so that it fits that session only and is not stored.
"""

from __future__ import annotations

import hmac
from typing import Callable
from urllib.parse import urlsplit

HEADER = "X-CSRF-Token"
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD"})

_PORTS = {"http": 80, "https": 443}


def token_of(digest: Callable[[bytes], bytes], session: str) -> str:
    """Give the token that belongs to a session.

    :param digest: a keyed one.
    :param session: the session's token.
    """
    return digest(b"csrf\0" + session.encode("ascii")).hex()


def fits(digest: Callable[[bytes], bytes], session: str, given: str | None) -> bool:
    """Say whether ``given`` is the token of a session."""
    if given is None or not given.isascii():
        return False
    return hmac.compare_digest(token_of(digest, session), given)


def same_origin(origin: str | None, fetch_site: str | None, host: str, secure: bool) -> bool:
    """Say whether a request came from a page of this very site, or from no page at all.

    :param origin: ``Origin``, which every browser sends with what is no GET.
    :param fetch_site: ``Sec-Fetch-Site``; asked where there is no ``Origin``.
    :param host: ``Host`` as the browser sent it.
    :param secure: whether the browser used TLS.
    """
    if origin is None:
        return fetch_site in (None, "same-origin", "none")
    scheme = "https" if secure else "http"
    try:
        page, here = urlsplit(origin), urlsplit(f"{scheme}://{host}")
        if page.scheme != scheme or page.hostname is None:
            return False
        default = _PORTS[scheme]
        return (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False
