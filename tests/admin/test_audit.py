"""``/api/v1/audit-logs``: who sees what, found in every way, and exported whole."""

from __future__ import annotations

import json
from typing import Any

from tests.admin.support import NOW, AdminCase, OnPostgres
from tests.store.support import HOUR, new_id
from voidllm.store import audit
from voidllm.store.audit import Author, Entry

LOGS = "/api/v1/audit-logs"


class AuditLogs(AdminCase):
    """Lists, single entries and exports."""

    async def _note(self, **changes: Any) -> str:
        author = Author(
            "user", self.users["boss"], "Boss", self.ids["boss"], self.org.id, None, "10.0.0.7", "req-1"
        )
        values = {
            "id": new_id(),
            "at_ms": NOW,
            "author": author,
            "action": "update",
            "resource_type": "org",
            "resource_id": self.org.id,
            "org_id": self.org.id,
            "diff": {"name": ["old", "new"]},
            **changes,
        }
        await self.store.write(audit.append, (Entry(**values),))
        return str(values["id"])

    async def _found(self, query: str, who: str = "system") -> list[str]:
        status, _, got = await self.call("GET", LOGS + query, who=who)
        self.assertEqual(status, 200, got)
        return [one["id"] for one in got["data"]]

    async def test_an_entry_is_shown_whole(self) -> None:
        """Everything that was written is there, with what the fields were and are."""
        entry_id = await self._note()
        _, _, got = await self.call("GET", f"{LOGS}/{entry_id}", who="boss")
        _, _, listed = await self.call("GET", LOGS, who="boss")
        self.assertEqual(listed["data"], [got])
        self.assertEqual(len(got.pop("hash")), 64)
        self.assertEqual(
            got,
            {
                "id": entry_id,
                "seq": 1,
                "timestamp": "2026-11-24T10:30:00Z",
                "org_id": self.org.id,
                "team_id": None,
                "actor_type": "user",
                "actor_id": self.users["boss"],
                "actor_name": "Boss",
                "actor_key_id": self.ids["boss"],
                "on_behalf_of": None,
                "action": "update",
                "resource_type": "org",
                "resource_id": self.org.id,
                "description": "update org",
                "outcome": "success",
                "ip_address": "10.0.0.7",
                "status_code": 200,
                "error_code": None,
                "request_id": "req-1",
                "diff": {"name": {"before": "old", "after": "new"}},
            },
        )

    async def test_filters(self) -> None:
        """Each filter leaves what it names."""
        first = await self._note(at_ms=NOW - 2 * HOUR, action="create", resource_type="team")
        second = await self._note(
            author=Author("key", "k", "Robot", status=403), error_code="forbidden", resource_id="thing"
        )
        for query, expected in (
            ("", [second, first]),
            ("?sort=timestamp", [first, second]),
            ("?action=create", [first]),
            ("?resource_type=team", [first]),
            ("?resource_id=thing", [second]),
            ("?actor_type=key", [second]),
            ("?actor_id=k", [second]),
            (f"?actor_id={self.users['boss']}", [first]),
            ("?outcome=refused", [second]),
            ("?outcome=success", [first]),
            ("?status=403", [second]),
            ("?from=1h", [second]),
            ("?to=1h", [first]),
            ("?q=ROBOT", [second]),
            ("?q=10.0.0.7", [first]),
            (f"?org_id={self.org.slug}", [second, first]),
            ("?org_id=other", []),
        ):
            self.assertEqual(await self._found(query), expected, query)

    async def test_pages(self) -> None:
        """Pages follow each other in either direction; a made-up cursor is refused."""
        made = [await self._note() for _ in range(5)]
        for sort, expected in (("timestamp", made), ("-timestamp", made[::-1])):
            seen: list[str] = []
            query = f"?limit=2&sort={sort}"
            while True:
                _, _, got = await self.call("GET", LOGS + query)
                seen += [one["id"] for one in got["data"]]
                if not got["has_more"]:
                    break
                query = f"?limit=2&sort={sort}&cursor={got['next_cursor']}"
            self.assertEqual(seen, expected)
        for cursor in ("x", "WyItdGltZXN0YW1wIiwieCIsInkiXQ"):
            status, _, got = await self.call("GET", f"{LOGS}?cursor={cursor}")
            self.assertEqual((status, got["error"]["param"]), (400, "cursor"))

    async def test_everybody_sees_their_own_organisations(self) -> None:
        """Administrators see theirs, only the system's those about no organisation, and members none."""
        mine = await self._note()
        theirs = await self._note(org_id=self.other.id)
        nobodys = await self._note(org_id=None)
        self.assertEqual(await self._found(""), [nobodys, theirs, mine])
        for who, seen in (("boss", mine), ("other_boss", theirs)):
            self.assertEqual(await self._found("", who), [seen])
            for entry_id in (mine, theirs, nobodys):
                status, _, _ = await self.call("GET", f"{LOGS}/{entry_id}", who=who)
                self.assertEqual(status, 200 if entry_id == seen else 404)
        status, _, _ = await self.call("GET", f"{LOGS}?org_id={self.org.id}", who="other_boss")
        self.assertEqual(status, 404)
        for path in (LOGS, f"{LOGS}/{mine}", f"{LOGS}/export"):
            for who in ("worker", "lead"):
                self.assertEqual((await self.call("GET", path, who=who))[0], 403)

    async def test_names_of_organisations(self) -> None:
        """``expand`` names organisation and team."""
        await self._note(team_id=self.team.id)
        _, _, got = await self.call("GET", f"{LOGS}?expand=org,team")
        self.assertEqual(got["data"][0]["org"]["slug"], self.org.slug)
        self.assertEqual(got["data"][0]["team"]["name"], "Team")

    async def test_export(self) -> None:
        """All entries that are meant, oldest first, one a line, also more than are read at once."""
        author = Author("user", "u", "Somebody")
        many = [Entry(new_id(), NOW, author, "update", "org", None, self.org.id) for _ in range(1203)]
        await self.store.write(audit.append, many)
        await self._note(org_id=self.other.id)
        status, headers, body = await self.call("GET", f"{LOGS}/export?format=ndjson", who="boss")
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        lines = [json.loads(line) for line in body.splitlines()]
        self.assertEqual([line["id"] for line in lines], [entry.id for entry in many])
        _, _, body = await self.call("GET", f"{LOGS}/export?actor_id=nobody")
        self.assertEqual(body, b"")


class AuditLogsOnPostgres(OnPostgres, AuditLogs):
    """The same on PostgreSQL."""
