"""Usage, costs and the dashboard."""

from __future__ import annotations

from typing import Any

from tests.admin.samples import Sample, own_org, own_team


async def _no_org(case: Any, route: Any) -> None:
    await case.call("GET", f"{route.path}?org=nowhere", who="boss")


async def _no_such_org(case: Any, route: Any) -> None:
    await case.call("GET", f"{route.path}?org_id=nowhere")


SAMPLES = {
    "report_usage": Sample(provoke={"not_found": _no_org}),
    "export_usage": Sample(),
    "report_own_usage": Sample(query="?percentiles=false&group_by=day,model&compare=previous"),
    "export_own_usage": Sample(query="?format=ndjson"),
    "report_org_usage": Sample(own_org, query="?expand=team&group_by=team,tag"),
    "export_org_usage": Sample(own_org, query="?group_by=model"),
    "report_team_usage": Sample(own_team),
    "export_team_usage": Sample(own_team),
    "report_costs": Sample(own_org),
    "show_dashboard": Sample(provoke={"not_found": _no_such_org}),
}
