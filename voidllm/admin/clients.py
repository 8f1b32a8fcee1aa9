"""Where an administrative request came from, behind proxies that are trusted."""

from __future__ import annotations

from functools import partial
from typing import Any

from voidllm.admin.declare import Client
from voidllm.admin.replies import header_of
from voidllm.http.clientaddr import TrustedProxies, plain_address


def client_of(request: Any, trusted: TrustedProxies) -> Client:
    """Say where a request of twisted.web came from.

    On a Unix socket there is no address.
    """
    peer = plain_address(getattr(request.getClientAddress(), "host", "") or "")
    address, secure = peer, bool(request.isSecure())
    if peer and trusted.trusts(peer):
        address = trusted.client(peer, request.requestHeaders.getRawHeaders(b"x-forwarded-for") or ())
        if not secure:
            secure = (header_of(request, "x-forwarded-proto") or "").strip().lower() == "https"
    return Client(address, secure, getattr(request, "request_id", ""), partial(header_of, request))
