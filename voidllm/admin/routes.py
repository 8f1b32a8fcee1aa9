"""All routes of the API, resource by resource."""

from __future__ import annotations

from voidllm.admin import configuration, description, keys, system, usage
from voidllm.admin.declare import Route

ROUTES: tuple[Route, ...] = (
    *keys.ROUTES,
    *usage.ROUTES,
    *configuration.ROUTES,
    *description.ROUTES,
)

#: What there is on the control socket as well.
OPERATORS: tuple[Route, ...] = system.ROUTES
