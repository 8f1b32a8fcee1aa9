"""Models, deployments and shared credentials over the API."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from tests.admin.support import AdminCase, OnPostgres
from tests.store.support import until
from voidllm.config import parse_config
from voidllm.store import models as store_models
from voidllm.stored_models import StoredModels

UP = "http://127.0.0.1:9/v1"
CANARY = "sk-canary-8f3a"


class ModelCase(AdminCase):
    """A configuration file with one model, and what the gateway makes of the stored ones."""

    async def _set_up(self) -> None:
        await super()._set_up()
        text = "models: [{name: filed, provider: demo, aliases: [file-alias]}]"
        self.config = parse_config(text, {}, "/nowhere")
        self.followed = StoredModels(self.world, "/nowhere", self.store, self.keyring, lambda: None)
        await self.followed.start()
        self.addCleanup(self.followed.stop)

    async def make(self, **more: Any) -> Any:
        body = {"name": "m", "provider": "custom", "base_url": UP, "api_key": CANARY, **more}
        status, _, made = await self.call("POST", "/api/v1/models", body)
        self.assertEqual(status, 201, made)
        return made

    async def refused(self, method: str, path: str, body: Any, status: int, param: str | None) -> str:
        got, _, reply = await self.call(method, path, body)
        self.assertEqual((got, reply["error"]["param"]), (status, param), (body, reply))
        return str(reply["error"]["message"])


class Models(ModelCase):
    """Stored models."""

    async def test_made_shown_and_served(self) -> None:
        """A model is shown without its key, and followed with it."""
        made = await self.make(
            aliases=["m-alias"], input_price_per_1m="0.15", output_price_per_1m=0.6, timeout="90s"
        )
        self.assertEqual(
            {name: made[name] for name in ("source", "provider", "base_url", "has_key", "timeout")},
            {"source": "api", "provider": "custom", "base_url": UP, "has_key": True, "timeout": "1m30s"},
        )
        self.assertEqual((made["input_price_per_1m"], made["output_price_per_1m"]), ("0.15", "0.6"))
        self.assertNotIn("api_key", made)
        self.assertEqual((await self.call("GET", f"/api/v1/models/{made['id']}"))[2], made)
        self.assertEqual((await self.call("GET", "/api/v1/models/m"))[2], made)
        await until(lambda: self.followed.models)
        (model,) = self.followed.models
        self.assertEqual((model.name, model.aliases, model.timeout), ("m", ("m-alias",), 90_000))
        self.assertEqual(model.deployments[0].api_key, CANARY)
        self.assertNotIn(CANARY, repr(model))

    async def test_a_key_is_nowhere(self) -> None:
        """Not in a reply, not in the database as it was given, not in the audit log."""
        made = await self.make()
        path = f"/api/v1/models/{made['id']}"
        for body in ({"api_key": CANARY + "-2"}, {"api_key": None}, {"max_retries": 3}):
            _, _, reply = await self.call("PATCH", path, body)
            self.assertNotIn("canary", json.dumps(reply))
        self.assertFalse((await self.call("GET", path))[2]["has_key"])
        rows = await self.store.read(_dump)
        self.assertNotIn("canary", repr(rows))

    async def test_unbuilt_is_named(self) -> None:
        """A provider or a feature that is not there yet is refused by field."""
        for more, param in (
            ({"provider": "anthropic"}, "provider"),
            ({"azure_deployment": "x"}, "azure_deployment"),
            ({"fallback_model_name": "x"}, "fallback_model_name"),
            ({"pii_filter": True}, "pii_filter"),
            ({"base_url": "http://user:pw@host/v1"}, "base_url"),
            ({"base_url": "https:///v1"}, "base_url"),
            ({"base_url": "http://host/v1?x=1"}, "base_url"),
            ({"base_url": "file:///etc/passwd"}, "base_url"),
            ({"base_url": None}, "base_url"),
            ({"provider": None}, "provider"),
            ({"api_key": "with space"}, "api_key"),
            ({"credential_id": "none", "api_key": None}, "credential_id"),
            ({"credential_id": "none"}, "credential_id"),
            ({"timeout": "25h"}, "timeout"),
            ({"input_price_per_1m": "1.0000000001"}, "input_price_per_1m"),
            ({"input_price_per_1m": -1}, "input_price_per_1m"),
            ({"aliases": ["x", "x"]}, "aliases"),
            ({"name": "x:deleted:y"}, "name"),
        ):
            body = {"name": "m", "provider": "custom", "base_url": UP, "api_key": "k", **more}
            message = await self.refused("POST", "/api/v1/models", body, 400, param)
            self.assertNotIn("pw@", message)
        self.assertEqual(await self.store.read(store_models.all_models), ())

    async def test_names_are_one_space(self) -> None:
        """Nothing is called like another model, its aliases, or what the file defines."""
        await self.make(aliases=["m-alias"])
        for body, param in (
            ({"name": "m"}, "name"),
            ({"name": "m-alias"}, "name"),
            ({"name": "filed"}, "name"),
            ({"name": "file-alias"}, "name"),
            ({"name": "n", "aliases": ["m"]}, "aliases"),
            ({"name": "n", "aliases": ["file-alias"]}, "aliases"),
        ):
            await self.refused("POST", "/api/v1/models", body, 409, param)

    async def test_the_file_wins(self) -> None:
        """A file that comes to define a stored model's name is served; the list says so."""
        await self.make(name="later")
        self.config = parse_config("models: [{name: later, provider: demo}]", {}, "/nowhere")
        _, _, page = await self.call("GET", "/api/v1/models?sort=name")
        found = {(one["source"], one["name"]): one["conflict"] for one in page["data"]}
        self.assertEqual(set(found), {("yaml", "later"), ("api", "later")})
        self.assertIsNone(found["yaml", "later"])
        self.assertIn("configuration file", found["api", "later"])

    async def test_the_file_is_not_changed_here(self) -> None:
        """Models of the file are shown, and every change says where they are defined."""
        _, _, shown = await self.call("GET", "/api/v1/models/filed")
        self.assertEqual((shown["source"], shown["aliases"]), ("yaml", ["file-alias"]))
        self.assertEqual((await self.call("GET", f"/api/v1/models/{shown['id']}"))[2], shown)
        for method, tail, body in (
            ("PATCH", "", {"max_retries": 1}),
            ("DELETE", "", None),
            ("PATCH", "/deactivate", None),
            ("POST", "/deployments", {"name": "x", "provider": "demo"}),
        ):
            message = await self.refused(method, f"/api/v1/models/filed{tail}", body, 409, None)
            self.assertIn("models[0]", message)

    async def test_patched(self) -> None:
        """Absent stays, null clears, a stale tag is refused, and each change counts at once."""
        made = await self.make(input_price_per_1m="1", timeout="5s", max_retries=2)
        path = f"/api/v1/models/{made['id']}"
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        body = {"input_price_per_1m": None, "timeout": None, "aliases": ["n"], "base_url": UP + "/b"}
        status, _, after = await self.call("PATCH", path, body, **tag)
        self.assertEqual(status, 200)
        self.assertEqual(
            (after["input_price_per_1m"], after["timeout"], after["aliases"]), (None, None, ["n"])
        )
        self.assertEqual((after["base_url"], after["max_retries"], after["has_key"]), (UP + "/b", 2, True))
        self.assertEqual((await self.call("PATCH", path, body, **tag))[0], 412)
        await self.call("PATCH", path + "/deactivate")
        await until(lambda: not self.followed.models)
        _, _, page = await self.call("GET", "/api/v1/models")
        self.assertEqual([one["name"] for one in page["data"]], ["filed"])
        _, _, page = await self.call("GET", "/api/v1/models?include_inactive=true&source=api")
        self.assertEqual([one["name"] for one in page["data"]], ["m"])
        await self.call("PATCH", path + "/activate")
        await until(lambda: self.followed.models)
        self.assertEqual((await self.call("DELETE", path))[0], 204)
        await until(lambda: not self.followed.models)
        self.assertEqual((await self.call("GET", path))[0], 404)
        self.assertEqual(await self.store.read(_counts), (0, 0, 0))

    async def test_listed(self) -> None:
        """Pages, sorting, searching and filtering hold for both sources together."""
        for name in "abcd":
            await self.make(name=name, type="embedding" if name == "c" else "chat")
        seen: list[str] = []
        query = "?sort=-name&limit=2"
        while True:
            _, _, page = await self.call("GET", "/api/v1/models" + query)
            seen += [one["name"] for one in page["data"]]
            if not page["has_more"]:
                break
            query = f"?sort=-name&limit=2&cursor={page['next_cursor']}"
        self.assertEqual(seen, ["filed", "d", "c", "b", "a"])
        for query, names in (
            ("type=embedding", ["c"]),
            ("q=FILE-", ["filed"]),
            ("source=yaml", ["filed"]),
            ("provider=demo", ["filed"]),
            ("source=api&sort=name&limit=2", ["a", "b"]),
        ):
            _, _, page = await self.call("GET", f"/api/v1/models?{query}")
            self.assertEqual([one["name"] for one in page["data"]], names, query)

    async def test_sent_again(self) -> None:
        """The same request sent again has the same answer, tag and all, and makes nothing."""
        body = {"name": "m", "provider": "custom", "base_url": UP, "api_key": CANARY}
        sent = [await self.call("POST", "/api/v1/models", body, **{"idempotency-key": "k"}) for _ in range(2)]
        self.assertEqual([status for status, _, _ in sent], [201, 201])
        self.assertEqual(sent[0][2], sent[1][2])
        self.assertEqual(sent[0][1]["etag"], sent[1][1]["etag"])
        self.assertEqual(len(await self.store.read(store_models.all_models)), 1)

    async def test_paths_in_so_many_words(self) -> None:
        """A path that looks like a model's is not taken for one, whatever the method."""
        for method, path, allowed in (
            ("GET", "test-connection", "POST"),
            ("DELETE", "health", "GET, HEAD"),
            ("OPTIONS", "health", "GET, HEAD"),
        ):
            status, headers, _ = await self.call(method, f"/api/v1/models/{path}")
            self.assertEqual((status, headers["allow"]), (405, allowed))

    async def test_two_writers(self) -> None:
        """Changes that meet are both there."""
        made = await self.make()
        path = f"/api/v1/models/{made['id']}"
        first, second = (
            self.call("PATCH", path, body) for body in ({"max_retries": 7}, {"max_context_tokens": 9})
        )
        one, two = Deferred.fromCoroutine(first), Deferred.fromCoroutine(second)
        self.assertEqual([(await one)[0], (await two)[0]], [200, 200])
        _, _, after = await self.call("GET", path)
        self.assertEqual((after["max_retries"], after["max_context_tokens"]), (7, 9))


class Deployments(ModelCase):
    """Deployments of stored models."""

    async def test_one_is_active(self) -> None:
        """A second one is kept in reserve, and takes over once the first is switched off."""
        made = await self.make()
        base = f"/api/v1/models/{made['id']}/deployments"
        first = made["deployments"][0]["id"]
        spare = {"name": "spare", "provider": "vllm", "base_url": UP, "api_key": CANARY}
        await self.refused("POST", base, spare, 400, "is_active")
        status, _, second = await self.call("POST", base, {**spare, "is_active": False})
        self.assertEqual((status, second["is_active"], second["has_key"]), (201, False, True))
        await self.refused("PATCH", f"{base}/{second['id']}", {"is_active": True}, 400, "is_active")
        await self.refused("POST", base, {**spare, "is_active": False}, 400, "name")
        self.assertEqual((await self.call("PATCH", f"{base}/{first}", {"is_active": False}))[0], 200)
        self.assertEqual((await self.call("PATCH", f"{base}/{second['id']}", {"is_active": True}))[0], 200)
        await until(lambda: self.followed.models and self.followed.models[0].deployments[0].name == "spare")
        await self.refused("PATCH", f"/api/v1/models/{made['id']}", {"base_url": UP}, 400, "base_url")
        _, _, page = await self.call("GET", base + "?sort=name&is_active=true")
        self.assertEqual([one["name"] for one in page["data"]], ["spare"])
        self.assertEqual((await self.call("DELETE", f"{base}/{first}"))[0], 204)
        self.assertEqual((await self.call("GET", f"{base}/{first}"))[0], 404)

    async def test_of_the_file(self) -> None:
        """Deployments of the file are listed and shown too."""
        _, _, page = await self.call("GET", "/api/v1/models/filed/deployments")
        (one,) = page["data"]
        self.assertEqual((one["provider"], one["created_at"]), ("demo", None))
        self.assertEqual((await self.call("GET", f"/api/v1/models/filed/deployments/{one['id']}"))[2], one)


class Credentials(ModelCase):
    """Secrets that deployments share."""

    async def test_shared(self) -> None:
        """A new secret counts at once for all its deployments; one that is used is not deleted."""
        body = {"name": "team", "provider": "custom", "api_key": CANARY}
        status, _, made = await self.call("POST", "/api/v1/credentials", body)
        self.assertEqual((status, made["used_by"], "api_key" in made), (201, 0, False))
        for name in ("a", "b"):
            await self.make(name=name, api_key=None, credential_id="team")
        path = f"/api/v1/credentials/{made['id']}"
        self.assertEqual((await self.call("GET", path))[2]["used_by"], 2)
        self.assertEqual((await self.call("DELETE", path))[0], 409)
        self.assertEqual((await self.call("PATCH", path, {"api_key": "sk-next"}))[0], 200)
        await until(lambda: [m.deployments[0].api_key for m in self.followed.models] == ["sk-next"] * 2)
        _, _, page = await self.call("GET", "/api/v1/models?source=api&expand=credential")
        names = [one["deployments"][0]["credential"]["name"] for one in page["data"]]
        self.assertEqual(names, ["team", "team"])
        await self.call("PATCH", "/api/v1/models/a", {"api_key": "own"})
        await self.call("DELETE", "/api/v1/models/b")
        self.assertEqual((await self.call("DELETE", path))[0], 204)
        rows = await self.store.read(_dump)
        self.assertNotIn("canary", repr(rows))

    async def test_of_another_provider(self) -> None:
        """A credential is for its own provider."""
        body = {"name": "o", "provider": "openai", "api_key": "k"}
        await self.call("POST", "/api/v1/credentials", body)
        model = {"name": "m", "provider": "vllm", "base_url": UP, "credential_id": "o"}
        await self.refused("POST", "/api/v1/models", model, 400, "credential_id")
        await self.refused("POST", "/api/v1/credentials", body, 409, "name")

    async def test_listed(self) -> None:
        """Credentials are searched and sorted."""
        for name in ("b", "a", "c"):
            body = {"name": name, "provider": "openai", "api_key": "k"}
            await self.call("POST", "/api/v1/credentials", body)
        _, _, page = await self.call("GET", "/api/v1/credentials?sort=-name&limit=2")
        self.assertEqual(([one["name"] for one in page["data"]], page["has_more"]), (["c", "b"], True))
        _, _, page = await self.call("GET", "/api/v1/credentials?q=A&provider=openai")
        self.assertEqual([one["name"] for one in page["data"]], ["a"])


class ModelsOnPostgres(OnPostgres, Models):
    """The same on PostgreSQL."""


class DeploymentsOnPostgres(OnPostgres, Deployments):
    """The same on PostgreSQL."""


class CredentialsOnPostgres(OnPostgres, Credentials):
    """The same on PostgreSQL."""


def _dump() -> Any:
    from voidllm.store.statements import q

    found = []
    for table in ("models", "deployments", "credentials", "audit_log", "idempotency_keys"):
        found.append((yield q(f"SELECT * FROM {table}")))
    return found


def _counts() -> Any:
    from voidllm.store.statements import q

    found = []
    for table in ("models", "deployments", "model_names"):
        found.append((yield q(f"SELECT count(*) FROM {table}"))[0][0])
    return tuple(found)
