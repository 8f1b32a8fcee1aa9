"""Rules that concern more than one key, and settings that have no effect."""

from __future__ import annotations

import re
from typing import Any, Iterator

from voidllm.config.database import Database
from voidllm.config.errors import Path
from voidllm.config.model_rules import check_models
from voidllm.config.root import Config
from voidllm.config.server import TLS
from voidllm.config.sso_rules import check_sso
from voidllm.config.unbuilt import unbuilt
from voidllm.config.urls import url_fault
from voidllm.core.usage_tags import MOST, usable_header

_HOST = re.compile(r"[A-Za-z0-9.:%_-]{1,255}\Z")
_NO_EFFECT: dict[Path, str] = {
    ("settings", "license"): "has no effect: there is one edition with everything in it",
    ("settings", "license_file"): "has no effect: there is one edition with everything in it",
    ("settings", "admin_key"): "has no effect: API keys open the administration API",
    ("database", "max_idle_conns"): "has no effect: all connections are kept",
    ("cache", "key_ttl"): "has no effect: changes are visible within a second",
    ("cache", "model_ttl"): "has no effect: changes are visible within a second",
    ("cache", "alias_ttl"): "has no effect: changes are visible within a second",
    ("settings", "token_counting"): "has no effect: tokens are always reserved and settled",
    ("settings", "soft_limit_threshold"): "has no effect",
    ("settings", "usage", "buffer_size"): "has no effect: usage rows wait on disk",
    ("settings", "usage", "drop_on_full"): "has no effect: usage rows are never dropped",
}


def check(config: Config) -> Iterator[tuple[Path, str]]:
    """Give a path and a message for every rule that ``config`` breaks."""
    server = config.server
    yield from _tls(server.proxy.tls, ("server", "proxy", "tls"))
    yield from _tls(server.admin.tls, ("server", "admin", "tls"))
    if not _HOST.match(server.proxy.host):
        yield ("server", "proxy", "host"), "must be an address or host name of this machine"
    yield from _database(config.database)
    if "@" not in config.settings.bootstrap.admin_email:
        yield ("settings", "bootstrap", "admin_email"), "must be a mail address"
    if not config.state_dir:
        yield ("state_dir",), "must name a folder"
    if config.upstream.proxy.url and (fault := url_fault(config.upstream.proxy.url, ("http",), True)):
        yield ("upstream", "proxy", "url"), fault
    if config.workers != 1 and server.front == "twisted":
        yield ("server", "front"), "must be fast with more than one worker: twisted.web has the control plane"
    for number, name in enumerate(config.settings.usage.tag_headers):
        if not usable_header(name):
            yield (
                ("settings", "usage", "tag_headers", number),
                "must be a header's name in lower case, and of one that holds no secret",
            )
    if len(config.settings.usage.tag_headers) > MOST:
        yield ("settings", "usage", "tag_headers"), f"must have at most {MOST} names"
    yield from check_models(config.models)
    yield from check_sso(config.settings.sso)
    yield from unbuilt(config)


def _tls(tls: TLS, path: Path) -> Iterator[tuple[Path, str]]:
    for name in ("cert", "key"):
        if tls.enabled and not getattr(tls, name):
            yield (*path, name), "is required when TLS is enabled"


def _database(database: Database) -> Iterator[tuple[Path, str]]:
    if database.driver == "postgres":
        if not database.dsn:
            yield ("database", "dsn"), "is required for postgres"
    elif database.dsn.startswith(("postgres://", "postgresql://")):
        yield ("database", "dsn"), "is one of PostgreSQL, but database.driver is sqlite"
    elif ":memory:" in database.dsn or "mode=memory" in database.dsn:
        yield ("database", "dsn"), "must be a file: usage and keys outlive the process"
    if database.max_idle_conns > database.max_open_conns:
        yield ("database", "max_idle_conns"), "must not be more than max_open_conns"


def notices(tree: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Give a path and a message for every key in the file that changes nothing."""
    for path, message in _NO_EFFECT.items():
        place: Any = tree
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if place is not None:
            yield path, message
