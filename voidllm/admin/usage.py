"""``/api/v1/usage``."""

from __future__ import annotations

from voidllm.admin.access import READ
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.admin.reporting import usage
from voidllm.admin.usage_shapes import UsageAsk, UsageLine
from voidllm.auth.roles import ORG_ADMIN

ROUTES = (
    Route(
        "GET",
        "/api/v1/usage",
        "report_usage",
        "Report usage",
        usage,
        Page[UsageLine],
        ORG_ADMIN,
        READ,
        query=UsageAsk,
        description="Complete up to the moment of asking; the most used groups first, at most 10,000 of them"
        " and all on one page. Hours count whole.",
    ),
)
