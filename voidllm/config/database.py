"""``database``, ``redis`` and ``cache``: where state lives."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key
from voidllm.config.kinds import Line, Name, ms


@frozen(kw_only=True)
class Database:
    """The store; the connection numbers are for PostgreSQL, SQLite has its own."""

    driver: Annotated[str, OneOf(("sqlite", "postgres"))] = key("sqlite", "Which database.")
    dsn: Line = key(
        "",
        "PostgreSQL: URL or `key=value` list, required. SQLite: a file, relative to the working "
        "directory; default `voidllm.db` in `state_dir`.",
        show="url",
    )
    max_open_conns: Annotated[int, Range(1, 1000, 25)] = key(
        25, "Connections, all of them kept open; one more hears of changes."
    )
    max_idle_conns: Annotated[int, Range(0, 1000)] = key(5, "No effect: all connections are kept.")
    conn_max_lifetime: Annotated[Duration, Range(ms("1s"), ms("52w"), ms("5m"))] = key(
        ms("5m"), "Age at which a connection is replaced."
    )

    @property
    def sqlite_path(self) -> str:
        """File of the SQLite database, whichever way ``dsn`` says it."""
        path = self.dsn
        for prefix in ("sqlite://", "file:"):
            if path.startswith(prefix):
                path = path[len(prefix) :].partition("?")[0]
        return path


@frozen(kw_only=True)
class Redis:
    """Shared rate limits."""

    enabled: bool = key(False, "Share rate windows over Redis.")
    url: Line = key("", "`redis://[user:password@]host:port/db`.", show="url")
    key_prefix: Name = key("voidllm:", "Put before every key.")


@frozen(kw_only=True)
class Cache:
    """Ages of caches that the Go VoidLLM has; here a change is visible within a second."""

    key_ttl: Duration = key(ms("30s"), "No effect.")
    model_ttl: Duration = key(ms("60s"), "No effect.")
    alias_ttl: Duration = key(ms("60s"), "No effect.")
