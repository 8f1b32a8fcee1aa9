"""What is wrong with a URL, and how it is shown without its credentials."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_PASSWORD = re.compile(
    r"(?i)\b(password|passfile|sslpassword|token|secret|key)(\s*=\s*)('(?:\\.|[^'\\])*'|[^\s&]+)"
)
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


def url_fault(url: str, schemes: tuple[str, ...], credentials: bool = False) -> str | None:
    """Say what keeps ``url`` from being used, or ``None``.

    :param credentials: whether ``user:password@`` is allowed in it.
    """
    allowed = " or ".join(schemes)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"must be a URL ({allowed}) with a host and, if any, a valid port"
    if parts.scheme not in schemes or not parts.hostname or port == 0 or not _VISIBLE.match(url):
        return f"must be a URL ({allowed}) with a host, without spaces"
    if parts.username is not None and not credentials:
        return "must not hold credentials"
    if parts.query or parts.fragment:
        return "must not have a query or fragment"
    return None


def without_credentials(text: str) -> str:
    """Replace what may be secret in a URL or ``key=value`` list by ``***``."""
    return _PASSWORD.sub(r"\1\2***", _USERINFO.sub(r"\1***@", text))
