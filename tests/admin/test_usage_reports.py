"""Reports of organisations, teams and oneself, exports, costs and the dashboard, over a real socket."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from tests.admin.support import NOW, AdminCase, OnPostgres, event
from voidllm.core.principal import Limits

_HOUR = 3_600_000
_DAY = 24 * _HOUR


class ReportSuite:
    """Behaviour that does not depend on the store."""

    call: Any
    store: Any
    org: Any
    other: Any
    team: Any
    users: Any
    ids: Any
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any

    async def use(self) -> None:
        """Three requests of the lead in the team, one of the boss, one elsewhere; two were before."""
        lead = {"org_id": self.org.id, "user_id": self.users["lead"], "key_id": self.ids["lead"]}
        mine = {**lead, "team_id": self.team.id, "cost_nano": 1_000_000_000, "duration_ms": 400}
        rows = [
            event(**mine, tags="project:alpha", model="a", ttft_ms=60),
            event(**mine, tags="project:beta", model="b", status=500),
            event(**mine, model="a", started_ms=NOW - 2 * _HOUR),
            event(**mine, model="a", started_ms=NOW - 26 * _HOUR),
            event(org_id=self.org.id, user_id=self.users["boss"], key_id=self.ids["boss"], model="=c"),
            event(org_id=self.other.id, user_id=self.users["other_boss"], model="d"),
        ]
        await self.store.commit_usage("segment", 1, rows)

    async def get(self, path: str, who: str = "boss") -> Any:
        status, _, reply = await self.call("GET", f"/api/v1{path}", who=who)
        self.assertEqual(status, 200, reply)
        return reply

    async def test_whose(self) -> None:
        """Each route is about what it says, and the others' rows are in none of its sums."""
        await self.use()
        org, team = f"/orgs/{self.org.id}/usage", f"/orgs/{self.org.slug}/teams/{self.team.slug}/usage"
        for path, who, wanted in (
            (org, "boss", 5),
            (org, "system", 5),
            (team, "boss", 4),
            (team, "lead", 4),
            ("/usage/me", "boss", 1),
            ("/usage/me", "lead", 4),
            ("/usage/me", "worker", 0),
            ("/usage", "boss", 5),
            ("/usage", "other_boss", 1),
            ("/usage", "system", 6),
        ):
            reply = await self.get(f"{path}?group_by=,", who)
            self.assertEqual(sum(row["total_requests"] for row in reply["data"]), wanted, (path, who))
        for path, who, status in (
            (org, "lead", 403),
            (org, "worker", 403),
            (org, "other_boss", 404),
            (team, "mate", 403),
            (team, "other_boss", 404),
            ("/usage", "worker", 403),
            (f"/usage?org={self.org.id}", "other_boss", 404),
        ):
            found, _, reply = await self.call("GET", f"/api/v1{path}", who=who)
            self.assertEqual(found, status, (path, who, reply))

    async def test_groups_filters_and_names(self) -> None:
        """Rows have their groups, names where they are asked for, and only what the filters let through."""
        await self.use()
        path = f"/orgs/{self.org.id}/usage"
        reply = await self.get(f"{path}?group_by=team,model&expand=team&team={self.team.id}&status=200")
        self.assertEqual(
            [(row["group_key"], row["group_label"], row["total_requests"]) for row in reply["data"]],
            [(f"{self.team.id},a", "Team, a", 3)],
        )
        self.assertEqual((reply["org_id"], reply["timezone"]), (self.org.id, "UTC"))
        reply = await self.get(f"{path}?group_by=tag")
        self.assertEqual({row["tag"] for row in reply["data"]}, {"project:alpha", "project:beta"})
        reply = await self.get(f"{path}?group_by=model&tag=project:beta")
        self.assertEqual([(row["model"], row["errors"]) for row in reply["data"]], [("b", 1)])
        (row,) = (await self.get(f"{path}?group_by=,&model=a&since=24h"))["data"]
        self.assertEqual((row["total_requests"], row["cost"], row["avg_duration_ms"]), (2, "2", 400.0))
        self.assertEqual(250 <= row["latency_p50_ms"] <= 650, True)
        self.assertEqual(50 <= row["ttft_p95_ms"] <= 100, True)

    async def test_the_time_before(self) -> None:
        """With ``compare`` each row also says how it was in the same length of time before."""
        await self.use()
        path = f"/orgs/{self.org.id}/usage?since=24h&compare=previous"
        (row,) = (await self.get(f"{path}&group_by=model&model=a"))["data"]
        self.assertEqual((row["total_requests"], row["previous"]["total_requests"]), (2, 1))
        reply = await self.get(f"{path}&group_by=hour&model=a")
        found = {row["hour"]: row["previous"]["total_requests"] for row in reply["data"]}
        self.assertEqual(found, {"2026-11-24T10:00:00Z": 0, "2026-11-24T08:00:00Z": 1})

    async def test_days_of_the_organisation(self) -> None:
        """Days begin when the clocks of the organisation say so."""
        await self.call("PATCH", f"/api/v1/orgs/{self.org.id}", {"timezone": "Asia/Tokyo"}, who="boss")
        late = NOW - NOW % _DAY + 16 * _HOUR - _DAY
        await self.store.commit_usage("segment", 1, [event(org_id=self.org.id, started_ms=late)])
        reply = await self.get(f"/orgs/{self.org.id}/usage?group_by=day")
        self.assertEqual([row["day"] for row in reply["data"]], ["2026-11-24"])
        self.assertEqual((reply["timezone"], reply["to"]), ("Asia/Tokyo", "2026-11-24T15:00:00Z"))

    async def test_exports(self) -> None:
        """Every request is a line, as CSV that no spreadsheet takes for formulas, and as JSON."""
        await self.use()
        path = f"/orgs/{self.org.id}/usage/export"
        lines = list(csv.DictReader(io.StringIO((await self.get(path)).decode())))
        self.assertEqual(len(lines), 5)
        self.assertEqual({line["model"] for line in lines}, {"a", "b", "'=c"})
        self.assertEqual({line["cost"] for line in lines}, {"1", ""})
        self.assertEqual(lines[0]["started_at"], "2026-11-23T08:30:00Z")
        found = (await self.get(f"{path}?format=ndjson&model=a")).decode().splitlines()
        self.assertEqual([json.loads(line)["status"] for line in found], [200, 200, 200])
        lines = list(csv.DictReader(io.StringIO((await self.get(f"{path}?group_by=model")).decode())))
        self.assertEqual({line["model"]: line["total_requests"] for line in lines}["a"], "3")
        self.assertNotIn("team", lines[0])

    async def test_export_of_many(self) -> None:
        """Pages follow each other without a gap or a double."""
        rows = [event(org_id=self.org.id, started_ms=NOW - n) for n in range(1201)]
        await self.store.commit_usage("segment", 1, rows)
        text = (await self.get(f"/orgs/{self.org.id}/usage/export?format=ndjson")).decode()
        self.assertEqual(len({json.loads(line)["id"] for line in text.splitlines()}), 1201)

    async def test_costs(self) -> None:
        """Costs are there by model, team and day, with their share and the time before."""
        await self.use()
        report = await self.get(f"/orgs/{self.org.id}/cost-report?since=24h")
        self.assertEqual((report["total"]["cost"], report["total"]["previous"]["cost"]), ("3", "1"))
        self.assertEqual(report["total"]["change_percent"], 200.0)
        models = {row["id"]: (row["cost"], row["share"]) for row in report["by_model"]}
        self.assertEqual(models["a"], ("2", 0.6667))
        self.assertIn("Team", [row["name"] for row in report["by_team"]])
        self.assertEqual([row["day"] for row in report["by_day"]], ["2026-11-24"])

    async def test_dashboard(self) -> None:
        """Everybody sees what they lead: the installation, an organisation, a team, or their own use."""
        await self.use()
        for who, scope, requests in (
            ("system", "system", 5),
            ("boss", "org", 4),
            ("lead", "team", 3),
            ("mate", "user", 0),
            ("worker", "user", 0),
        ):
            stats = await self.get("/dashboard/stats", who)
            self.assertEqual((stats["scope"], stats["requests_24h"]), (scope, requests), who)
        stats = await self.get("/dashboard/stats")
        self.assertEqual((stats["cost_estimate_24h"], stats["error_rate_24h"]), ("3", 0.25))
        self.assertEqual(stats["previous"]["total_requests"], 1)
        self.assertEqual(stats["top_teams"][0]["name"], "Team")
        self.assertEqual([hour["total_requests"] for hour in stats["series"]], [1, 3])

    async def test_budgets(self) -> None:
        """Token limits of which four fifths are used are warned of, to whom they concern."""
        await self.use()
        await self.store.set_limits("org", self.org.id, Limits(tokens_per_month=75))
        await self.store.set_limits("team", self.team.id, Limits(tokens_per_day=50, tokens_per_month=1000))
        stats = await self.get("/dashboard/stats")
        found = [(one["scope"], one["window"], one["percent_used"]) for one in stats["budget_warnings"]]
        self.assertEqual(found, [("org", "monthly", 100.0), ("team", "daily", 90.0)])
        stats = await self.get("/dashboard/stats", "lead")
        self.assertEqual([one["scope"] for one in stats["budget_warnings"]], ["team"])
        self.assertEqual((await self.get("/dashboard/stats", "worker"))["budget_warnings"], [])


class ReportTests(ReportSuite, AdminCase):
    """On SQLite."""


class PostgresReportTests(ReportSuite, OnPostgres, AdminCase):
    """On PostgreSQL."""
