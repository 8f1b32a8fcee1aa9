"""``/api/v1/settings``: what the installation runs with, as far as it matters to its people."""

from __future__ import annotations

from typing import Annotated, Any, Iterator, Literal, Mapping

from msgspec import Meta, Struct

from voidllm.admin.access import READ
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.config import Config

_SHOWN = (
    "workers",
    "database.driver",
    "server.trusted_proxies",
    "server.proxy.max_request_body",
    "server.proxy.drain_timeout",
    "logging.level",
    "usage.fsync",
    "upstream.proxy.no_proxy",
    "settings.audit.enabled",
    "settings.health_check",
    "settings.mcp",
    "settings.pii.enabled",
    "settings.retention",
    "settings.sessions",
    "settings.sso.enabled",
    "settings.token_counting",
)


class Setting(Struct, kw_only=True, frozen=True):
    """One setting that is in force."""

    name: Annotated[str, Meta(description="as in the configuration file")]
    value: Any
    source: Annotated[
        Literal["default", "configuration"], Meta(description="configuration: it differs from the default")
    ]


class Settings(Struct, kw_only=True, frozen=True):
    """What is in force."""

    file: Annotated[str | None, Meta(description="the configuration file, null for none")]
    warnings: Annotated[list[str], Meta(description="settings that have no effect")]
    data: list[Setting]


async def show_settings(call: Call[Nothing, Nothing]) -> Settings:
    """Show the settings that are in force; where they can be changed at run time, it is not here."""
    config = call.context.config()
    usual = dict(_flat(Config().redacted()))
    data = [
        Setting(name=name, value=value, source="default" if usual.get(name) == value else "configuration")
        for name, value in _flat(config.redacted())
        if any(name == shown or name.startswith(f"{shown}.") for shown in _SHOWN)
    ]
    return Settings(file=config.source, warnings=list(config.warnings), data=data)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


ROUTES = (
    Route(
        "GET",
        "/api/v1/settings",
        "show_settings",
        "Show the settings in force",
        show_settings,
        Settings,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        stored=False,
        description="Without secrets. They are changed in the configuration file; limits of the whole "
        "installation with `/api/v1/limits`. `/api/v1/config` has all of it.",
    ),
)
