"""Secrets that go through administration are nowhere in the database, in the audit log or in the log."""

from __future__ import annotations

import json
from typing import Any, Iterator

from twisted.logger import formatEvent, globalLogPublisher

from tests.admin.support import OnPostgres
from tests.admin.walk import WalkCase, all_tables
from voidllm.admin.declare import Route
from voidllm.admin.routes import ROUTES
from voidllm.admin.schemas import plain, properties
from voidllm.store.audit_diff import secret_name

_CANARY = "Canary-0123456789-secret"


class Canaries(WalkCase):
    """Every route that changes something, with marked secrets in whatever may hold one."""

    async def test_no_secret_is_kept_in_the_clear(self) -> None:
        """Neither what is sent nor what is shown once is in any table or log line."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            lines.append(f"{formatEvent(event)} {event!r}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        tables = await self.store.read(all_tables, self.dialect)
        marked = taken = 0
        for route in ROUTES:
            if route.method == "GET":
                continue
            parts = await self.samples[route.name].make(self)
            first, _ = self.samples[route.name].bodies(parts)
            for body in (first, _with_canaries(route, first)):
                marked += _CANARY in json.dumps(body)
                path = route.path.format(**parts) + self.samples[route.name].query
                key = {"idempotency-key": f"k-{route.name}-{body is first}"} if route.once else {}
                status, _, reply = await self.call(route.method, path, body, "system", **key)
                secrets = [_CANARY]
                if status < 300 and route.secrets:
                    secrets += [text for one in route.secrets for text in _at(reply, one.split("."))]
                taken += status < 300 and _CANARY in json.dumps(body)
                await self._search(tables, route, secrets)
            self.assertFalse([line for line in lines if _CANARY in line], route.name)
            await self.restore()
        # Some are refused, such as wrong passwords; those are searched for as well.
        self.assertGreater(marked, 10)
        self.assertGreater(taken, 3)

    async def _search(self, tables: list[str], route: Route, secrets: list[str]) -> None:
        for table, rows in (await self.dump(tables)).items():
            text = repr(rows)
            for secret in secrets:
                self.assertNotIn(secret, text, f"{route.name}: {table}")


def _with_canaries(route: Route, body: Any) -> Any:
    value = dict(_marked(body or {}))
    for name, schema in properties(route.body).items():
        if secret_name(name) and plain(schema).get("type") == "string":
            value[name] = _CANARY
    return value


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _CANARY if secret_name(name) and isinstance(inner, str) else _marked(inner)
            for name, inner in value.items()
        }
    return [_marked(inner) for inner in value] if isinstance(value, list) else value


def _at(value: Any, path: list[str]) -> Iterator[str]:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (one for one in value if isinstance(one, str))


class CanariesOnPostgres(OnPostgres, Canaries):
    """The same on PostgreSQL."""

    dialect = "postgres"
