"""What every answer of the administration tells browsers: to run, show, keep and pass on nothing."""

from __future__ import annotations

from typing import Any

from voidllm.admin.clients import client_of
from voidllm.http.clientaddr import TrustedProxies

_ALWAYS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
# A year, for this name alone: what else is on the domain is not ours to decide.
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def protect(request: Any, trusted: TrustedProxies) -> None:
    """Set the headers that an answer has unless it says otherwise itself.

    :param trusted: whose word it is that a request came over TLS.
    """
    for name, value in _ALWAYS:
        request.setHeader(name, value)
    if client_of(request, trusted).secure:
        request.setHeader(*_HSTS)
