"""Known settings whose feature is not there yet; each line goes with the feature's arrival."""

from __future__ import annotations

from typing import Iterator

from voidllm.config.errors import Path
from voidllm.config.root import Config

UNBUILT_PROVIDERS = frozenset({"anthropic", "azure", "gemini", "vertex"})
MESSAGE = "is not available in this version"


def unbuilt(config: Config) -> Iterator[tuple[Path, str]]:
    """Give a path and a message for every setting that switches on what is not there."""
    settings, server = config.settings, config.server
    health = settings.health_check
    switches: tuple[tuple[bool, Path], ...] = (
        (server.admin.port not in (0, server.proxy.port), ("server", "admin", "port")),
        (server.admin.tls.enabled, ("server", "admin", "tls", "enabled")),
        (config.redis.enabled, ("redis", "enabled")),
        (bool(config.mcp_servers), ("mcp_servers",)),
        (settings.otel.enabled, ("settings", "otel", "enabled")),
        (settings.pii.enabled, ("settings", "pii", "enabled")),
        (settings.mcp.code_mode.enabled, ("settings", "mcp", "code_mode", "enabled")),
        (settings.circuit_breaker.enabled, ("settings", "circuit_breaker", "enabled")),
        (health.health.enabled, ("settings", "health_check", "health", "enabled")),
        (health.models.enabled, ("settings", "health_check", "models", "enabled")),
        (health.functional.enabled, ("settings", "health_check", "functional", "enabled")),
        (settings.fallback_max_depth != 0, ("settings", "fallback_max_depth")),
    )
    for on, path in switches:
        if on:
            yield path, MESSAGE
    for index, model in enumerate(config.models):
        here: Path = ("models", index)
        if len(model.deployments) > 1:
            yield (*here, "deployments"), f"more than one {MESSAGE}"
        if model.fallback:
            yield (*here, "fallback"), MESSAGE
        for place, path in (
            (model, here),
            *((one, (*here, "deployments", number)) for number, one in enumerate(model.deployments)),
        ):
            if place.provider in UNBUILT_PROVIDERS:
                yield (*path, "provider"), MESSAGE
            if place.pii_filter:
                yield (*path, "pii_filter"), MESSAGE
