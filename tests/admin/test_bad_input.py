"""Whatever a field holds, the answer is a 4xx that names the field, or the value is taken as it is."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping
from urllib.parse import quote

import pytest
from jsonschema_rs import Draft202012Validator
from twisted.internet.threads import deferToThread

from tests.admin.samples import samples
from tests.admin.support import AdminCase, OnPostgres
from tests.harness import request
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Nothing
from voidllm.admin.routes import ROUTES
from voidllm.admin.schemas import components, properties

HALF = r'"\ud800"'

#: JSON texts, because some of them are nothing that Python would encode.
WRONG = (
    "null",
    "true",
    "-1",
    "1.5",
    "1e400",
    str(2**63),
    "[]",
    '[{"a": [null]}]',
    "{}",
    '""',
    json.dumps("x" * 10_000),
    r'"\u0000"',
    HALF,
    r'"a\u202eb"',
    json.dumps("' OR 1=1; DROP TABLE users; --"),
    json.dumps("\uff41\u0501min@ex\u0430mple.org"),
    json.dumps("%s ? :id {0} ${HOME} $(id) `id`"),
)
QUERIES = ("' OR 1=1 --", "\0", "\u0430", "", "-1", "9" * 30, "x" * 5000, "[]", "null")
PATHS = ("' OR '1'='1", "a\0b", "%", "\u0430dmin", "a" * 65, "a" * 5000, ";drop table users", "*")


@pytest.mark.timeout(300)
class WrongFields(AdminCase):
    """Every field of every body and query, every part of every path."""

    timeout = 600
    #: Whether to send what a field's schema forbids.
    refused_unread = True

    async def test_bodies(self) -> None:
        """A value that a field's schema forbids is a 400 with that field; any other is no 5xx."""
        for route in ROUTES:
            if route.body is Nothing:
                continue
            sample = samples()[route.name]
            parts = await sample.make(self)
            for name, text in _fields(route):
                allowed = _allowed(route.body, name, text)
                if not allowed and not self.refused_unread:
                    continue
                good = dict(sample.bodies(parts)[0] or {})
                good.pop(name, None)
                rest = json.dumps(good)[1:-1]
                body = f'{{"{name}": {text}{", " if rest else ""}{rest}}}'
                query = sample.query
                status, reply = await self.send(route, parts, query, body.encode())
                self.assertLess(status, 500, (route.name, name, text))
                if not allowed:
                    self.assertEqual(status, 400, (route.name, name, text, reply))
                    # Half a surrogate pair is not JSON in the first place.
                    wanted = "" if text == HALF else name
                    self.assertEqual(_field(reply), wanted, (route.name, text))
                elif status == 400:
                    self.assertIsNotNone(reply["error"]["param"], (route.name, name, text, reply))
                if status < 300:
                    parts = await sample.make(self)
        await self.assert_nothing_is_lost()

    async def test_queries(self) -> None:
        """The same for the arguments of a query."""
        for route in ROUTES:
            sample = samples()[route.name]
            known = properties(route.query)
            if not known:
                continue
            parts = await sample.make(self)
            body = sample.bodies(parts)[0]
            sent = None if body is None else json.dumps(body).encode()
            given = dict(one.split("=", 1) for one in sample.query[1:].split("&") if one)
            for name in known:
                for value in QUERIES if self.refused_unread else QUERIES[:3]:
                    query = "&".join(f"{n}={quote(v)}" for n, v in {**given, name: value}.items())
                    status, reply = await self.send(route, parts, f"?{query}", sent)
                    self.assertLess(status, 500, (route.name, name, value))
                    if status == 400:
                        self.assertIsNotNone(reply["error"]["param"], (route.name, name, value, reply))
                    if status < 300 and route.method != "GET":
                        parts = await sample.make(self)
        await self.assert_nothing_is_lost()

    async def test_paths(self) -> None:
        """Ids that are none are 404, whatever is in them."""
        for route in ROUTES:
            if "{" not in route.path:
                continue
            sample = samples()[route.name]
            parts = await sample.make(self)
            body = sample.bodies(parts)[0]
            sent = None if body is None else json.dumps(body).encode()
            for name in parts:
                for value in PATHS if self.refused_unread else PATHS[:2]:
                    status, reply = await self.send(route, {**parts, name: value}, sample.query, sent)
                    self.assertIn(status, (400, 404), (route.name, name, value, reply))
        await self.assert_nothing_is_lost()

    async def send(
        self, route: Route, parts: Mapping[str, str], query: str, body: bytes | None
    ) -> tuple[int, Any]:
        path = route.path.format(**{name: quote(value, safe="") for name, value in parts.items()})
        headers = {"authorization": f"Bearer {self.keys['system']}"}
        status, got, reply = await deferToThread(
            request, self.port, route.method, path + query, body, headers
        )
        return status, json.loads(reply) if got.get("content-type") == "application/json" else reply

    async def assert_nothing_is_lost(self) -> None:
        """The tables are there, with those in them whom nobody took away."""
        for name in ("boss", "other_boss"):
            self.assertIsNotNone(await self.store.get_key(self.ids[name]))


class WrongFieldsOnPostgres(OnPostgres, WrongFields):
    """The same on PostgreSQL, with what gets as far as the database."""

    refused_unread = False


def _fields(route: Route) -> Iterator[tuple[str, str]]:
    for name in properties(route.body):
        for text in WRONG:
            yield name, text


def _allowed(kind: Any, name: str, text: str) -> bool:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    if value in (float("inf"), 2**63):
        return False
    _, named = components([kind])
    schema = properties(kind)[name]
    return bool(Draft202012Validator({**schema, "components": {"schemas": named}}).is_valid(value))


def _field(reply: Any) -> str:
    param = reply["error"]["param"] or ""
    return str(param.partition(".")[0].partition("[")[0])
