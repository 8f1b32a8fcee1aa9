"""The whole configuration."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Any

from attrs import frozen

from voidllm.config.database import Cache, Database, Redis
from voidllm.config.fields import internal, key, section
from voidllm.config.kinds import Line
from voidllm.config.logging import Logging, Metrics, Usage
from voidllm.config.mcp import MCPServer
from voidllm.config.models import ModelConfig
from voidllm.config.processes import WorkerCount
from voidllm.config.server import Server
from voidllm.config.settings import Settings
from voidllm.config.upstream import Stream, Upstream
from voidllm.config.views import redact


@frozen(kw_only=True)
class Config:
    """Everything an operator can set.

    Attribute names are the keys of the file. Durations are integer milliseconds with a
    ``seconds`` property; relative paths are made absolute when a working directory is known.

    :ivar source: the file this came from, or ``None`` for environment and defaults only.
    :ivar warnings: one text for each setting that has no effect.
    """

    state_dir: Line = key(
        "./var", "Folder for everything that is kept; relative to the working directory.", path=True
    )
    workers: WorkerCount = key(
        WorkerCount(1),
        "Processes that answer requests: a number, or `auto` for one on each core. "
        "With more than one, the process that is started is their control plane.",
    )
    server: Server = section(Server)
    database: Database = section(Database)
    cache: Cache = section(Cache)
    redis: Redis = section(Redis)
    upstream: Upstream = section(Upstream)
    stream: Stream = section(Stream)
    usage: Usage = section(Usage)
    metrics: Metrics = section(Metrics)
    models: tuple[ModelConfig, ...] = key((), "The models.", live=True)
    mcp_servers: tuple[MCPServer, ...] = key((), "MCP servers.")
    settings: Settings = section(Settings)
    logging: Logging = section(Logging)
    source: str | None = internal(None)
    warnings: tuple[str, ...] = internal(())

    def redacted(self) -> dict[str, Any]:
        """Give everything as plain values for people, without a single secret."""
        return redact(self)
