"""``/api/v1/openapi.json``: what this very gateway takes and gives, for everybody."""

from __future__ import annotations

from typing import Any

from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing


async def describe(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Give the OpenAPI document."""
    # Not before it is asked for: the routes know this one.
    from voidllm.admin.openapi import document

    return document()


ROUTES = (
    Route(
        "GET",
        "/api/v1/openapi.json",
        "describe",
        "Describe this API",
        describe,
        dict[str, Any],
        None,
        tenant="none",
        stored=False,
        description="This document.",
    ),
)
