"""Rules of ``settings.sso``, and those that organisations' providers have in common with it."""

from __future__ import annotations

import ipaddress
import re
from typing import Iterator
from urllib.parse import urlsplit

from voidllm.config.errors import Path
from voidllm.config.identity import SSO
from voidllm.config.urls import url_fault

#: A scope, as RFC 6749 section 3.3 has it.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
#: A mail domain in plain ASCII and lower case.
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_PATH: Path = ("settings", "sso")


def provider_url_fault(url: str, query: bool = False) -> str | None:
    """Say what keeps the URL of a provider, or the one that it sends people back to, from being used.

    Without TLS anybody on the way could be anybody; on one machine there is no way.

    :param query: whether it may have a query.
    """
    fault = url_fault(url.partition("?")[0] if query and "#" not in url else url, ("https", "http"))
    if fault is None and not (url.isascii() and url.isprintable() and " " not in url):
        return "must be a URL in plain ASCII"
    if fault is None and urlsplit(url).scheme == "http" and not _this_machine(urlsplit(url).hostname or ""):
        return "must be https, or http on this very machine (localhost)"
    return fault


def check_sso(sso: SSO) -> Iterator[tuple[Path, str]]:
    """Give a path and a message for every rule that ``settings.sso`` breaks."""
    if not sso.enabled:
        return
    for name in ("issuer", "client_id", "redirect_url"):
        if not getattr(sso, name):
            yield (*_PATH, name), "is required when single sign-on is enabled"
    for name in ("issuer", "redirect_url"):
        url = getattr(sso, name)
        if url and (fault := provider_url_fault(url)):
            yield (*_PATH, name), fault
    for index, scope in enumerate(sso.scopes):
        if SCOPE.fullmatch(scope) is None:
            yield (*_PATH, "scopes", index), "must be a scope, without spaces"
    for index, domain in enumerate(sso.allowed_domains):
        if DOMAIN.fullmatch(domain.lower()) is None:
            yield (*_PATH, "allowed_domains", index), "must be a mail domain in plain ASCII"
    if sso.group_sync and not sso.group_claim:
        yield (*_PATH, "group_claim"), "is required for group_sync"
    for index, rule in enumerate(sso.group_rules):
        if not rule.group:
            yield (*_PATH, "group_rules", index, "group"), "is required"
        if not rule.role and not rule.team:
            yield (*_PATH, "group_rules", index), "gives nothing: name a role or a team"


def _this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
