"""Which proxy the environment asks for, by the conventions that curl and others follow."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Mapping


def proxy_from_environment(
    env: Mapping[str, str], scheme: str, host: str, port: int | None = None
) -> str | None:
    """Give the URL of the proxy for an origin, or ``None`` for a direct connection.

    Reads ``<scheme>_proxy``, then ``all_proxy``, lower case before upper case, and leaves out
    what ``no_proxy`` lists: ``*``, names (with all below them), addresses, networks, each
    with or without a port. ``HTTP_PROXY`` in upper case is not read where
    ``REQUEST_METHOD`` is set: there it comes from a request header (CVE-2016-5385).

    :param host: a name or an address, IPv6 with or without brackets.
    """
    value = _lookup(env, f"{scheme}_proxy") or _lookup(env, "all_proxy")
    if not value or _is_excluded(_lookup(env, "no_proxy") or "", host, port):
        return None
    return value if "://" in value else f"http://{value}"


def _lookup(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in env):
        value = env.get(name.upper())
    return value.strip() if value is not None else None


def _is_excluded(no_proxy: str, host: str, port: int | None) -> bool:
    host = host.strip("[]").rstrip(".").lower()
    return any(
        _matches(entry, host, port) for part in no_proxy.lower().split(",") for entry in part.split() if entry
    )


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    name, _, entry_port = entry.rpartition(":")
    if name and entry_port.isdigit() and (name.endswith("]") or ":" not in name):
        if int(entry_port) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        entry = entry.removeprefix("*").strip(".")
        return bool(entry) and (host == entry or host.endswith("." + entry))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
