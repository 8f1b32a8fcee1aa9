"""``/api/v1/audit-logs``: who sees what, found in every way, and exported whole."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve

from tests.admin.support import NOW, AdminCase, OnPostgres
from tests.store.support import HOUR, new_id
from voidllm.admin.refusals import BURST, EVERY_S, RefusalMeter
from voidllm.store import audit
from voidllm.store.audit import Author, Entry
from voidllm.store.statements import Op, q

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
            ("?since=1h", [second]),
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

    async def test_the_chain_is_checked(self) -> None:
        """The system's administrator is told whether all is what was written, and where it is not."""
        author = Author("user", "u", "Somebody")
        many = [Entry(new_id(), NOW, author, "update", "org", None, self.org.id) for _ in range(10_001)]
        await self.store.write(audit.append, many)
        _, _, first = await self.call("GET", f"{LOGS}/verify")
        self.assertEqual((first["ok"], first["complete"], first["entries"]), (True, False, 10_000))
        query = f"?after={first['last_seq']}&after_hash={first['last_hash']}"
        _, _, second = await self.call("GET", f"{LOGS}/verify{query}")
        self.assertEqual((second["ok"], second["complete"], second["entries"]), (True, True, 1))
        self.assertEqual((second["first_seq"], second["last_hash"]), (1, second["head_hash"]))
        await self.store.write(_spoil)
        _, _, found = await self.call("GET", f"{LOGS}/verify")
        self.assertEqual((found["ok"], found["fault"]), (False, {"seq": 7, "kind": "altered"}))
        self.assertEqual((await self.call("GET", f"{LOGS}/verify", who="boss"))[0], 403)

    async def _refusals(self) -> list[Any]:
        _, _, got = await self.call("GET", f"{LOGS}?outcome=refused&limit=100")
        return [
            (one["actor_id"], one["action"], one["resource_type"], one["resource_id"], one["error_code"])
            for one in got["data"]
        ]

    async def test_refusals_are_on_record(self) -> None:
        """Who was refused what in which organisation is told, and nothing of what they sent."""
        org, team = f"/api/v1/orgs/{self.org.slug}", f"/api/v1/orgs/{self.org.id}/teams/{self.team.slug}"
        key = f"/api/v1/keys/{self.ids['boss']}"
        for method, path, body, who, expected in (
            ("PATCH", org, {"name": "x"}, "worker", ("update", "org", self.org.id, "forbidden")),
            ("PATCH", org, {"name": "x"}, "other_boss", ("update", "org", self.org.id, "not_found")),
            ("PATCH", org, {"canary": 1}, "boss", ("update", "org", self.org.id, "bad_request")),
            ("DELETE", team, None, "mate", ("delete", "team", self.team.id, "forbidden")),
            ("POST", f"{org}/teams", {}, "worker", ("create", "team", None, "forbidden")),
            ("POST", f"{key}/rotate", {}, "worker", ("rotate", "key", self.ids["boss"], "forbidden")),
            ("DELETE", "/api/v1/keys/canary", None, "boss", ("revoke", "key", None, "not_found")),
            ("GET", "/api/v1/credentials", None, "boss", ("read", "credential", None, "forbidden")),
        ):
            status, _, _ = await self.call(method, path, body, who)
            self.assertGreaterEqual(status, 400)
            shown = [one for one in await self._refusals() if one[0] is not None]
            self.assertEqual(shown[0], (self.users[who], *expected))
        self.assertEqual((await self.call("GET", f"{org}/teams/canary", who="boss"))[0], 404)
        self.assertEqual(len(await self._refusals()), 9)
        _, _, got = await self.call("GET", f"{LOGS}?status=404", who="boss")
        self.assertEqual([one["actor_id"] for one in got["data"]], [self.users["boss"], None])
        self.assertEqual(got["data"][1]["actor_name"], "somebody of another organisation")
        self.assertNotIn(str(self.users["other_boss"]), json.dumps(got))
        _, _, body = await self.call("GET", f"{LOGS}/export")
        self.assertNotIn(b"canary", body)

    async def test_a_stubborn_program(self) -> None:
        """Of many refusals a few are written; how many were not is in the next that is."""
        seconds = [0.0]
        meter = RefusalMeter(lambda: seconds[0])
        self.context = evolve(self.context, refusals=meter)
        self.listen()
        for _ in range(BURST + 5):
            await self.call("DELETE", f"/api/v1/orgs/{self.org.id}", who="worker")
        self.assertEqual(len(await self._refusals()), BURST)
        await self.call("DELETE", f"/api/v1/orgs/{self.org.id}", who="mate")
        self.assertEqual(len(await self._refusals()), BURST + 1)
        seconds[0] += EVERY_S
        for _ in range(3):
            await self.call("DELETE", f"/api/v1/orgs/{self.org.id}", who="worker")
        _, _, got = await self.call("GET", f"{LOGS}?outcome=refused")
        self.assertEqual(got["data"][0]["diff"], {"more_refused": {"before": None, "after": 5}})
        self.assertEqual(len(await self._refusals()), BURST + 2)


def _spoil() -> Op[None]:
    yield q("UPDATE audit_log SET action = 'nothing' WHERE seq = 7")


class AuditLogsOnPostgres(OnPostgres, AuditLogs):
    """The same on PostgreSQL."""
