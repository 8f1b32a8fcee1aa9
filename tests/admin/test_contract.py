"""What is declared is what happens: every error of every route, every body by its schema."""

from __future__ import annotations

import json
import os
from typing import Any, Callable
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.admin import contract
from tests.admin.samples import samples
from tests.admin.support import AdminCase, OnPostgres
from tests.admin.test_control import ask
from voidllm.admin.access import SCOPES, Actor
from voidllm.admin.control import ControlSocket
from voidllm.admin.declare import TENANTS, Route, codes_of
from voidllm.admin.kinds import Asked, Nothing
from voidllm.admin.openapi import document
from voidllm.admin.reading import read
from voidllm.admin.routes import OPERATORS, ROUTES
from voidllm.admin.schemas import components, required
from voidllm.auth.roles import RANKS
from voidllm.config import parse_config
from voidllm.core.errors import Refusal, StateError, StoreUnavailable

EVERY = (*ROUTES, *OPERATORS)


@pytest.mark.timeout(300)
class EveryDeclaredError(AdminCase):
    """Each ``error.code`` that a route declares can be had from it, and the reply is as declared."""

    timeout = 300

    async def test_each_is_provoked(self) -> None:
        """Routes over TCP: the declared codes are those that were seen, no fewer."""
        contract.SEEN.clear()
        self.samples = samples()
        await self.mint("plain", self.org, user_id=self.admin.id, scopes=frozenset({"inference"}))
        await self.mint("elsewhere", self.org, user_id=self.admin.id, addresses=("192.0.2.0/24",))
        await self.publish()
        for route in ROUTES:
            for code in codes_of(route):
                how = self.samples[route.name].provoke.get(code)
                await (getattr(self, f"_{code}")(route) if how is None else how(self, route))
                seen = {code for name, _, code in contract.SEEN if name == route.name}
                self.assertIn(code, seen, route.name)

    async def send(
        self, route: Route, query: str = "", body: Any = None, parts: Any = None, **headers: str
    ) -> Any:
        sample = self.samples[route.name]
        if parts is None:
            parts = await sample.make(self)
        if body is None:
            body = sample.bodies(parts)[0]
        who = headers.pop("who", "system")
        return await self.call(
            route.method,
            route.path.format(**parts) + (query or sample.query),
            body,
            who or None,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def _bad_request(self, route: Route) -> None:
        await self.send(route, "?nonsense=1")

    async def _unauthorized(self, route: Route) -> None:
        await self.send(route, who="")

    async def _forbidden(self, route: Route) -> None:
        await self.send(route, who="plain")

    async def _address_not_allowed(self, route: Route) -> None:
        await self.send(route, who="elsewhere")

    async def _password_change_required(self, route: Route) -> None:
        async def unready(*_: Any) -> Actor:
            return Actor("user", "system_admin", SCOPES, session_id="s", must_change_password=True)

        before = self.port
        with mock.patch("voidllm.admin.app.by_credential", unready):
            self.listen()
            await self.send(route)
        self.port = before

    async def _not_found(self, route: Route) -> None:
        parts = dict(await self.samples[route.name].make(self))
        body = self.samples[route.name].bodies(parts)[0]
        parts[list(parts)[-1]] = "nothing"
        await self.send(route, "", body, parts)

    async def _idempotency_key_in_use(self, route: Route) -> None:
        parts = await self.samples[route.name].make(self)
        body = self.samples[route.name].bodies(parts)[0]
        with self.instead("idempotency_finish", StoreUnavailable()):
            await self.send(route, "", body, parts, idempotency_key=f"a-{route.name}")
        await self.send(route, "", body, parts, idempotency_key=f"a-{route.name}")

    async def _idempotency_key_reused(self, route: Route) -> None:
        parts = await self.samples[route.name].make(self)
        for body in self.samples[route.name].bodies(parts):
            await self.send(route, "", body, parts, idempotency_key=f"b-{route.name}")
        # A route without a body has the path, or a query, to differ by.
        again = await self.samples[route.name].make(self)
        await self.send(route, "", None, again, idempotency_key=f"b-{route.name}")

    async def _precondition_failed(self, route: Route) -> None:
        await self.send(route, if_match='"other"')

    async def _request_too_large(self, route: Route) -> None:
        await self.send(route, body=b" " * 70_000)

    async def _unsupported_content_encoding(self, route: Route) -> None:
        await self.send(route, body=b"x", content_encoding="gzip")

    async def _unsupported_media_type(self, route: Route) -> None:
        await self.send(route, body=b"{}", content_type="text/plain")

    async def _not_ready(self, route: Route) -> None:
        before, self.state = self.port, "starting"
        self.listen()
        await self.send(route)
        self.port, self.state = before, "ready"

    async def _service_unavailable(self, route: Route) -> None:
        parts = await self.samples[route.name].make(self)
        with self.instead("_run", StoreUnavailable()):
            await self.send(route, parts=parts)

    def instead(self, name: str, error: Exception) -> Any:
        """Have a method of the store fail for a while."""
        return _Instead(self.store, name, error)

    async def test_the_operators_routes_too(self) -> None:
        """The same on the control socket."""
        contract.SEEN.clear()
        problems: list[Callable[[], list[str]]] = []

        def reload() -> list[str]:
            return problems[-1]()

        def broken() -> list[str]:
            raise StateError("line 3: models[0].name: is missing")

        problems.append(broken)
        for number, more in enumerate(({"reload": reload}, {})):
            folder = self.mktemp()
            os.mkdir(folder)
            control = ControlSocket(self.world, folder, self.context, **more)
            await control.start()
            self.addCleanup(lambda control=control: Deferred.fromCoroutine(control.stop()))
            for method, path, body, headers in (
                ("POST", "/api/v1/reload", None, {}),
                ("POST", "/api/v1/reload?x=1", None, {}),
                ("POST", "/api/v1/reload", {"x": "y" * 70_000}, {}),
                ("POST", "/api/v1/reload", {}, {"content-encoding": "gzip"}),
                ("POST", "/api/v1/reload", {}, {"content-type": "text/plain"}),
                ("GET", "/api/v1/status?x=1", None, {}),
            ):
                status, _ = await deferToThread(ask, control.path, method, path, body, headers)
                self.assertGreaterEqual(status, 400, (number, path))
            await self._break_glass(control.path)
            await self._encryption(control.path)
        for route in OPERATORS:
            seen = {code for name, _, code in contract.SEEN if name == route.name}
            self.assertLessEqual(set(codes_of(route)), seen, route.name)

    async def _break_glass(self, control: str) -> None:
        whose: dict[str, Any] = {"email": self.admin.email}
        for name in ("reset-password", "disable-totp"):
            path = f"/api/v1/operator/{name}"
            for more, body, headers in (
                ("?x=1", whose, {}),
                ("", {"email": "nobody@example.org"}, {}),
                ("", {"email": "y" * 70_000}, {}),
                ("", whose, {"content-encoding": "gzip"}),
                ("", whose, {"content-type": "text/plain"}),
            ):
                status, _ = await deferToThread(ask, control, "POST", path + more, body, headers)
                self.assertGreaterEqual(status, 400, path)
            with self.instead("_run", StoreUnavailable()):
                await deferToThread(ask, control, "POST", path, whose, {})
        status, _ = await deferToThread(ask, control, "POST", path, whose, {})
        self.assertEqual(status, 409)

    async def _encryption(self, control: str) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        self.config = parse_config(f"state_dir: {os.path.abspath(folder)}", {}, "/")
        for method, tail in (("GET", ""), ("POST", "/rotation"), ("POST", "/steps"), ("POST", "/forget")):
            path = f"/api/v1/operator/encryption{tail}"
            await deferToThread(ask, control, method, path + "?x=1", None, {})
            for body, headers in (
                ({"x": "y" * 70_000}, {}),
                ({}, {"content-encoding": "gzip"}),
                ({}, {"content-type": "text/plain"}),
            ):
                if method == "POST":
                    await deferToThread(ask, control, method, path, body, headers)
            with self.instead("_run", StoreUnavailable()):
                await deferToThread(ask, control, method, path, None, {})
            with open(os.path.join(folder, "encryption.key"), "w") as file:
                file.write("damaged")
            await deferToThread(ask, control, method, path, None, {})
            os.unlink(file.name)


class EveryDeclaredErrorOnPostgres(OnPostgres, EveryDeclaredError):
    """The same on PostgreSQL."""


class _Instead:
    def __init__(self, target: Any, name: str, error: Exception) -> None:
        self._target, self._name, self._error = target, name, error

    def __enter__(self) -> None:
        async def failing(*_: Any, **__: Any) -> None:
            raise self._error

        setattr(self._target, self._name, failing)

    def __exit__(self, *_: object) -> None:
        delattr(self._target, self._name)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False).filter(lambda x: x % 1)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_READ = sorted({route.body for route in EVERY} - {Nothing}, key=lambda kind: kind.__name__)


class BodiesAsTheirSchemas(SynchronousTestCase):
    """The document and the code that reads bodies agree."""

    def _compare(self, kind: type[Asked], value: Any, field: str | None = None) -> None:
        own, named = components([kind])
        valid = Draft202012Validator(
            {**own[0], "components": {"schemas": named}}, validate_formats=True
        ).is_valid(value)
        try:
            read(kind, value)
        except Refusal as refusal:
            self.assertFalse(valid, (value, refusal.message))
            self.assertEqual((refusal.status, refusal.code), (400, "bad_request"))
            if field is not None:
                told = (refusal.param or "").partition("[")[0].partition(".")[0]
                # What is given is looked at before it is seen that something is missing.
                self.assertIn(told, {field, *required(kind)}, value)
                if refusal.message == f"{told} is required":
                    return
                self.assertEqual(told, field)
        else:
            self.assertTrue(valid, value)

    @given(st.sampled_from(_READ), st.data())
    def test_a_wrong_field_is_named(self, kind: type[Asked], data: Any) -> None:
        """Anything at all in one field is taken, or refused with that field's name."""
        field = data.draw(st.sampled_from(list(components([kind])[1][kind.__name__]["properties"])))
        value = data.draw(_JSON)
        # Of moments the formats know a few that no clock shows, and the other way round.
        assume(not (field == "expires_at" and isinstance(value, str)))
        self._compare(kind, {field: value}, field)

    @given(st.sampled_from(_READ), _JSON)
    def test_anything_at_all(self, kind: type[Asked], value: Any) -> None:
        """No value makes anything but a refusal."""
        self._compare(kind, value)

    @given(st.sampled_from(_READ), st.text(min_size=1), st.text(min_size=5))
    def test_no_value_is_told(self, kind: type[Asked], name: str, canary: str) -> None:
        """What a field holds is not in the error, whatever it and the field are called."""
        canary = f"canary-{canary}"
        for value in ({"name": [canary]}, {"name": {canary: canary}}, {name: canary, "nothing": canary}):
            with self.assertRaises(Refusal) as caught:
                read(kind, value)
            self.assertNotIn("canary", caught.exception.message + str(caught.exception.param))


class TheDocument(AdminCase):
    """``/api/v1/openapi.json``."""

    async def test_it_is_there_for_everybody(self) -> None:
        """It is what the declarations give, in OpenAPI 3.1, and needs no key."""
        status, headers, got = await self.call("GET", "/api/v1/openapi.json", who=None)
        self.assertEqual((status, got["openapi"]), (200, "3.1.0"))
        self.assertEqual(got, json.loads(json.dumps(document())))
        self.assertEqual(headers["content-type"], "application/json")

    def test_every_route_is_whole(self) -> None:
        """Names are unique, and roles, tenant rules and references are known."""
        names = [route.name for route in EVERY]
        self.assertEqual(len(set(names)), len(names))
        whole = document(EVERY)
        schemas = whole["components"]["schemas"]
        for reference in set(_references(whole)):
            self.assertIn(reference.removeprefix("#/components/schemas/"), schemas)
        for route in EVERY:
            self.assertIn(route.tenant, TENANTS)
            self.assertTrue(route.role is None or route.role in RANKS)
            self.assertTrue(route.scope or route.role is None, route.name)
            self.assertTrue(route.scope != "admin:read" or route.method == "GET", route.name)
            if route.example is not None:
                read(route.body, route.example)

    def test_what_generators_make_of_it(self) -> None:
        """No schema has a module in its name, and only reads may answer that nothing has changed."""
        whole = document(EVERY)
        self.assertEqual([name for name in whole["components"]["schemas"] if "." in name], [])
        unchanged = {
            method
            for path in whole["paths"].values()
            for method, one in path.items()
            if "304" in one["responses"]
        }
        self.assertEqual(unchanged, {"get"})


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
