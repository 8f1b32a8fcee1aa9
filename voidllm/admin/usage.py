"""``/api/v1/usage`` and what is like it for organisations, teams and oneself."""

from __future__ import annotations

from voidllm.admin import reporting, usage_export
from voidllm.admin.access import READ
from voidllm.admin.declare import Route
from voidllm.admin.usage_shapes import ExportAsk, Report, ReportAsk, UsageAsk
from voidllm.auth.roles import MEMBER, ORG_ADMIN, TEAM_ADMIN

_WHAT = (
    "Complete up to the moment of asking; the most used groups first and all on one page. Hours are kept "
    "apart for 14 days, what is older begins and ends at midnight of the organisation's time zone. "
    "Percentiles are estimated from histograms."
)
_EXPORT = (
    "One line for each request, or with `group_by` the lines of a report. It is sent while it is read; an "
    "export that fails half-way ends with a cut connection. Cells that a spreadsheet would take for a "
    "formula have an apostrophe before them."
)
_MEDIA = ("text/csv", "application/x-ndjson")
_ORG, _TEAM = "/api/v1/orgs/{org_id}/usage", "/api/v1/orgs/{org_id}/teams/{team_id}/usage"

ROUTES = (
    Route(
        "GET",
        "/api/v1/usage",
        "report_usage",
        "Report usage",
        reporting.usage,
        Report,
        ORG_ADMIN,
        READ,
        query=UsageAsk,
        codes=("not_found",),
        description=_WHAT,
    ),
    Route(
        "GET",
        "/api/v1/usage/export",
        "export_usage",
        "Export usage",
        usage_export.usage,
        None,
        ORG_ADMIN,
        READ,
        query=ExportAsk,
        media=_MEDIA,
        description=_EXPORT,
    ),
    Route(
        "GET",
        "/api/v1/usage/me",
        "report_own_usage",
        "Report one's own usage",
        reporting.own_usage,
        Report,
        MEMBER,
        READ,
        tenant="self",
        query=ReportAsk,
        description=_WHAT,
    ),
    Route(
        "GET",
        "/api/v1/usage/me/export",
        "export_own_usage",
        "Export one's own usage",
        usage_export.own_usage,
        None,
        MEMBER,
        READ,
        tenant="self",
        query=ExportAsk,
        media=_MEDIA,
        description=_EXPORT,
    ),
    Route(
        "GET",
        _ORG,
        "report_org_usage",
        "Report usage of an organisation",
        reporting.org_usage,
        Report,
        ORG_ADMIN,
        READ,
        tenant="org",
        query=ReportAsk,
        tag="usage",
        description=_WHAT,
    ),
    Route(
        "GET",
        f"{_ORG}/export",
        "export_org_usage",
        "Export usage of an organisation",
        usage_export.org_usage,
        None,
        ORG_ADMIN,
        READ,
        tenant="org",
        query=ExportAsk,
        media=_MEDIA,
        tag="usage",
        description=_EXPORT,
    ),
    Route(
        "GET",
        _TEAM,
        "report_team_usage",
        "Report usage of a team",
        reporting.team_usage,
        Report,
        TEAM_ADMIN,
        READ,
        tenant="team",
        query=ReportAsk,
        tag="usage",
        description=_WHAT,
    ),
    Route(
        "GET",
        f"{_TEAM}/export",
        "export_team_usage",
        "Export usage of a team",
        usage_export.team_usage,
        None,
        TEAM_ADMIN,
        READ,
        tenant="team",
        query=ExportAsk,
        media=_MEDIA,
        tag="usage",
        description=_EXPORT,
    ),
)
