"""Which CONNECT proxy, if any, stands between the gateway and an upstream."""

from __future__ import annotations

import ipaddress
from typing import Iterable, Mapping
from urllib.parse import urlsplit

from voidllm.config.upstream import UpstreamProxy
from voidllm.config.urls import url_fault


def proxy_for(base_url: str, proxy: UpstreamProxy, environ: Mapping[str, str]) -> str | None:
    """Give the URL of the proxy for calls to ``base_url``, or ``None`` to connect directly.

    A configured proxy is for all upstreams. ``HTTPS_PROXY`` of the environment is for https ones,
    and never for loopback. ``no_proxy`` and ``NO_PROXY`` both count.
    """
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    exempt = [*proxy.no_proxy, *_either(environ, "NO_PROXY").split(",")]
    if _exempt(host, port, exempt):
        return None
    if proxy.url:
        return proxy.url
    url = _either(environ, "HTTPS_PROXY")
    # No scheme is a common way to write it; what is no HTTP proxy is none that we speak to.
    url = url if not url or "://" in url else f"http://{url}"
    if parts.scheme != "https" or _loopback(host) or not url or url_fault(url, ("http",), True):
        return None
    return url


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _exempt(host: str, port: int, entries: Iterable[str]) -> bool:
    address = _address(host)
    for entry in entries:
        entry = entry.strip().lower()
        if entry == "*":
            return True
        if not entry:
            continue
        if address is not None:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
                continue
            except ValueError:
                pass
        name, colon, digits = entry.rpartition(":")
        if colon and digits.isdigit():
            if int(digits) != port:
                continue
            entry = name.strip("[]")
        bare = entry.removeprefix("*").removeprefix(".")
        if host == bare or (bare and address is None and host.endswith("." + bare)):
            return True
    return False
