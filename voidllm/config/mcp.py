"""``mcp_servers`` and ``settings.mcp``: the MCP gateway."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key, section
from voidllm.config.kinds import Line, Name, Secret, ms


@frozen(kw_only=True)
class MCPServer:
    """An MCP server behind the gateway."""

    name: Name = key("", "For people.")
    alias: Name = key("", "Its part of the path.")
    url: Line = key("", "http or https.", show="url")
    auth_type: Annotated[str, OneOf(("none", "bearer", "header", "oauth"))] = key(
        "none", "How it is entered."
    )
    auth_header: Name = key("", "For `header`.")
    auth_token: Secret = key("", "For `bearer` and `header`.", show="secret")
    oauth_token_url: Line = key("", "For `oauth`; https.", show="url")
    oauth_client_id: Name = key("", "For `oauth`.")
    oauth_client_secret: Secret = key("", "For `oauth`.", show="secret")
    oauth_scopes: Line = key("", "For `oauth`, separated by spaces.")


@frozen(kw_only=True)
class MCPHealth:
    """Probes of MCP servers."""

    enabled: bool = key(True, "Probe MCP servers.")
    interval: Annotated[Duration, Range(ms("1s"), ms("24h"), ms("60s"))] = key(ms("60s"), "How often.")


@frozen(kw_only=True)
class CodeMode:
    """JavaScript over many tools."""

    enabled: bool = key(False, "Offer Code Mode.")
    memory_limit_mb: Annotated[int, Range(1, 128, 16)] = key(16, "Memory of one execution, MiB.")
    timeout: Annotated[Duration, Range(ms("1s"), ms("120s"), ms("30s"))] = key(ms("30s"), "Of one execution.")
    pool_size: Annotated[int, Range(1, 32, 8)] = key(8, "Executions at a time.")
    max_tool_calls: Annotated[int, Range(1, 1000, 50)] = key(50, "Of one execution.")
    schema_ttl: Duration = key(ms("168h"), "Age at which learned types are dropped.")


@frozen(kw_only=True)
class MCP:
    """Behaviour of the MCP gateway."""

    call_timeout: Annotated[Duration, Range(ms("100ms"), ms("24h"), ms("30s"))] = key(
        ms("30s"), "Of one call."
    )
    allow_private_urls: bool = key(False, "Let servers be on private addresses.")
    health: MCPHealth = section(MCPHealth)
    code_mode: CodeMode = section(CodeMode)
