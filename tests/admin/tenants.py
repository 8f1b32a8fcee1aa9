"""What tests of tenants share: everything that is stored, before and after."""

from __future__ import annotations

import json
from typing import Any

from tests.admin.support import NOW, AdminCase, new_id
from voidllm.store.statements import Op, Rows, q

#: Everything that a refusal must leave as it is.
TABLES = (
    "organizations",
    "teams",
    "users",
    "org_memberships",
    "team_memberships",
    "service_accounts",
    "api_keys",
    "scope_limits",
    "access_lists",
    "access_models",
    "model_aliases",
    "sessions",
    "password_resets",
    "change_version",
)


def _dump() -> Op[dict[str, Rows]]:
    found = {}
    for table in TABLES:
        rows = yield q(f"SELECT * FROM {table}")
        found[table] = sorted(map(tuple, rows), key=repr)
    return found


def _rows(sql: str, *params: Any) -> Op[Rows]:
    return (yield q(sql, *params))


class TenantCase(AdminCase):
    """Two organisations, and ways to look at all that is stored."""

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Read with a statement of one's own."""
        return [tuple(row) for row in await self.store.read(_rows, sql, *params)]

    async def execute(self, sql: str, *params: Any) -> None:
        """Change something that no operation changes."""
        await self.store.write(_rows, sql, *params)

    async def stored(self) -> dict[str, Any]:
        """Give every row of what this is about."""
        found: dict[str, Any] = await self.store.read(_dump)
        return found

    async def refused(
        self,
        who: str | None,
        method: str,
        path: str,
        body: Any,
        status: int,
        param: str | None = None,
        **headers: str,
    ) -> None:
        """Fail unless a request is refused and leaves everything as it was."""
        before = await self.stored()
        got, _, reply = await self.call(method, path, body, who, **headers)
        self.assertEqual((got, reply["error"]["param"]), (status, param), (who, method, path, body, reply))
        after = await self.stored()
        for table in TABLES:
            self.assertEqual(before[table], after[table], (who, method, path, body))

    async def done(
        self, who: str, method: str, path: str, body: Any = None, status: int = 200, **headers: str
    ) -> Any:
        """Give the body of a reply that must be no refusal."""
        got, _, reply = await self.call(method, path, body, who, **headers)
        self.assertEqual(got, status, (who, method, path, body, reply))
        return reply

    async def audited(self, since: int = 0) -> list[tuple[Any, ...]]:
        """Give action, resource, id, organisation and diff of the entries after one."""
        rows = await self.rows(
            "SELECT action, resource_type, resource_id, org_id, diff FROM audit_log"
            " WHERE seq > ? AND error_code = '' ORDER BY seq",
            since,
        )
        return [(*row[:4], json.loads(row[4])) for row in rows]

    async def last_audited(self) -> int:
        """Give the number of the newest entry."""
        ((seq,),) = await self.rows("SELECT seq FROM audit_head")
        return int(seq)

    async def begin_session(self, user_id: str | None) -> str:
        """Put a session of somebody into the store, and give its id."""
        session = new_id()
        await self.execute(
            "INSERT INTO sessions (id, hash, user_id, way, address, agent, created_at_ms, seen_at_ms,"
            " expires_at_ms) VALUES (?, ?, ?, 'password', '', '', ?, ?, ?)",
            session,
            (session * 2)[:64],
            user_id,
            NOW,
            NOW,
            NOW + 1_000_000,
        )
        return session

    async def sessions_of(self, user_id: str | None) -> int:
        """Count the sessions of somebody."""
        ((count,),) = await self.rows("SELECT count(*) FROM sessions WHERE user_id = ?", user_id)
        return int(count)

    async def live_keys(self, *names: str) -> list[str]:
        """Give those of the keys with these names that are not revoked."""
        revoked = {
            id_ for (id_,) in await self.rows("SELECT id FROM api_keys WHERE revoked_at_ms IS NOT NULL")
        }
        return [name for name in names if self.ids[name] not in revoked]
