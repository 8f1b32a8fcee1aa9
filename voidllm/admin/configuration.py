"""``/api/v1/config``: what the gateway runs with, without secrets."""

from __future__ import annotations

from typing import Any

from voidllm.admin.access import READ
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing
from voidllm.auth.roles import SYSTEM_ADMIN


async def show_configuration(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Give the configuration as it is in force."""
    return dict(call.context.config_view())


ROUTES = (
    Route(
        "GET",
        "/api/v1/config",
        "show_config",
        "Show the configuration",
        show_configuration,
        dict[str, Any],
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        stored=False,
    ),
)
