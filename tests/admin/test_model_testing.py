"""Asking upstreams for their models, and what is known of their health."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.admin.support import AdminCase
from tests.harness import free_port
from voidllm.admin import model_testing
from voidllm.admin.health import visible_models
from voidllm.core.model import Deployment, Model
from voidllm.core.snapshot import Snapshot

CANARY = "sk-canary-55"


class Upstream(Resource):
    """Answers ``/v1/models`` as it is told."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status, self.body, self.headers = 200, b"{}", {}
        self.seen: list[tuple[bytes, bytes | None]] = []

    def render_GET(self, request: Any) -> Any:
        self.seen.append((request.path, request.getHeader(b"authorization")))
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return NOT_DONE_YET if self.body is None else self.body


class TestConnection(AdminCase):
    """A real upstream on a real port."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.upstream = Upstream()
        port: Any = reactor.listenTCP(0, Site(self.upstream), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/v1"

    async def ask(self, **more: Any) -> Any:
        body = {"provider": "custom", "base_url": self.url, "api_key": CANARY, **more}
        status, _, reply = await self.call("POST", "/api/v1/models/test-connection", body)
        self.assertEqual(status, 200, reply)
        self.assertNotIn("canary", json.dumps(reply))
        return reply

    async def test_lists_models(self) -> None:
        """The key goes to base_url/models, and the names that come back are shown, sorted and bounded."""
        rows = [{"id": f"m-{n:04}"} for n in range(900, 0, -1)] + [
            {"id": "x\u202ey"},
            {"id": "x" * 500},
            {"id": 7},
        ]
        self.upstream.body = json.dumps({"data": rows}).encode()
        reply = await self.ask()
        self.assertTrue(reply["success"])
        self.assertEqual((len(reply["models"]), reply["models"][0]), (500, "m-0001"))
        self.assertEqual(self.upstream.seen, [(b"/v1/models", b"Bearer " + CANARY.encode())])

    async def test_says_what_is_wrong(self) -> None:
        """Each failure has a text of ours; nothing of the upstream's is repeated."""
        for status, body, headers, words in (
            (401, b"canary", {}, "not accepted"),
            (403, b"canary", {}, "not accepted"),
            (404, b"canary", {}, "base_url"),
            (500, b"canary", {}, "500"),
            (302, b"", {b"location": b"http://127.0.0.1:1/canary"}, "redirects"),
            (200, b"<html>canary", {}, "no list"),
            (200, b'{"data": "canary"}', {}, "no list"),
            (200, b'{"data": [[]]}', {}, "no list"),
            (200, b"[" * 100_000, {}, "no list"),
            (200, b"x" * (model_testing.MAX_REPLY + 1), {}, "too long"),
        ):
            self.upstream.status, self.upstream.body, self.upstream.headers = status, body, headers
            reply = await self.ask()
            self.assertEqual((reply["success"], reply["models"]), (False, []))
            self.assertIn(words, reply["message"])
        self.assertEqual({path for path, _ in self.upstream.seen}, {b"/v1/models"})

    async def test_nobody_there(self) -> None:
        """A port that nobody listens on, a name that is not known, and silence are told apart."""
        reply = await self.ask(base_url=f"http://127.0.0.1:{free_port()}/v1")
        self.assertIn("nobody listens", reply["message"])
        self.upstream.body = None
        self.patch(model_testing, "TIMEOUT_S", 0.2)
        self.assertIn("within", (await self.ask())["message"])

    async def test_demo_answers_itself(self) -> None:
        """The demo provider needs no upstream."""
        self.assertTrue((await self.ask(provider="demo", base_url=None))["success"])

    async def test_refused(self) -> None:
        """Only http and https with a host, and providers that are there."""
        for more, param in (
            ({"base_url": "http://u:p@127.0.0.1/v1"}, "base_url"),
            ({"base_url": "gopher://127.0.0.1/"}, "base_url"),
            ({"base_url": None}, "base_url"),
            ({"provider": "gemini"}, "provider"),
            ({"credential_id": "x"}, "credential_id"),
        ):
            body = {"provider": "custom", "base_url": self.url, "api_key": "k", **more}
            status, _, reply = await self.call("POST", "/api/v1/models/test-connection", body)
            self.assertEqual((status, reply["error"]["param"]), (400, param))
        self.assertEqual(self.upstream.seen, [])

    async def test_kept_keys(self) -> None:
        """A deployment is asked with its own key, or with the credential that it shares."""
        self.upstream.body = b'{"data": [{"id": "a"}]}'
        _, _, shared = await self.call(
            "POST", "/api/v1/credentials", {"name": "c", "provider": "custom", "api_key": CANARY + "-shared"}
        )
        for name, more in (("own", {"api_key": CANARY}), ("shared", {"credential_id": shared["id"]})):
            body = {"name": name, "provider": "custom", "base_url": self.url, **more}
            _, _, made = await self.call("POST", "/api/v1/models", body)
            path = f"/api/v1/models/{name}/deployments/{made['deployments'][0]['id']}/test-connection"
            _, _, reply = await self.call("POST", path)
            self.assertEqual((reply["success"], reply["models"]), (True, ["a"]))
        await self.ask(api_key=None, credential_id="c")
        keys = [key for _, key in self.upstream.seen]
        self.assertEqual(keys, [f"Bearer {CANARY}{end}".encode() for end in ("", "-shared", "-shared")])


class Health(AdminCase):
    """What is known of upstreams."""

    async def publish(self) -> None:
        await super().publish()
        models = {
            name: Model(name, "chat", (Deployment(name, name, "demo", "", name),)) for name in ("a", "b", "c")
        }
        self.holder.swap(evolve(self.holder.current, models=models))

    async def names(self, who: str, query: str = "") -> list[str]:
        status, _, page = await self.call("GET", f"/api/v1/models/health{query}", who=who)
        self.assertEqual(status, 200, page)
        self.assertEqual({row["status"] for row in page["data"]} - {"unknown"}, set())
        return [row["name"] for row in page["data"]]

    async def test_unknown(self) -> None:
        """Nothing is probed, and each deployment says so."""
        self.assertEqual(await self.names("system"), ["a", "b", "c"])
        self.assertEqual(await self.names("system", "?sort=-name&limit=2"), ["c", "b"])
        self.assertEqual(await self.names("system", "?q=B"), ["b"])
        self.assertEqual(await self.names("system", "?status=healthy"), [])

    async def test_by_access(self) -> None:
        """A member sees the models that access lists allow, and no name of another one."""
        await self.store.set_access("org", self.org.id, ["a", "b"])
        await self.store.set_access("key", self.ids["worker"], ["b", "c"])
        self.assertEqual(await self.names("system"), ["a", "b", "c"])
        self.assertEqual(await self.names("boss"), ["a", "b"])
        self.assertEqual(await self.names("worker"), ["b"])
        self.assertEqual(await self.names("other_boss"), ["a", "b", "c"])

    def test_visible(self) -> None:
        """One way is enough, all lists of it must allow; without any way nothing is visible."""
        models = {name: Model(name, "chat", ()) for name in ("a", "b", "c")}
        snapshot = Snapshot(1, models=models)

        def seen(*ways: Any) -> list[str]:
            return [model.name for model in visible_models(snapshot, list(ways))]

        self.assertEqual(seen(), [])
        self.assertEqual(seen([]), ["a", "b", "c"])
        self.assertEqual(seen([frozenset("ab"), frozenset("bc")]), ["b"])
        self.assertEqual(seen([frozenset("a"), None], [frozenset("c")]), ["a", "c"])
