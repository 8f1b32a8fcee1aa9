"""``/api/v1/keys`` over a real socket, on a real store."""

from __future__ import annotations

import json

from tests.admin.support import NOW, AdminCase
from voidllm.admin.moments import show
from voidllm.store.records import KeyFilter

_DAY = 86_400_000


class MakingKeys(AdminCase):
    async def test_a_new_key_is_given_once_and_works(self) -> None:
        """A created key is in the reply, its digest in the store, and it identifies its owner."""
        status, headers, made = await self.call(
            "POST",
            "/api/v1/keys",
            {"name": "ci", "expires_in": "90d", "requests_per_minute": 7, "models": ["demo"]},
        )
        self.assertEqual(status, 201)
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertTrue(made["key"].startswith("vl_uk_"))
        self.assertEqual(made["expires_at"], show(NOW + 90 * _DAY))
        self.assertEqual((made["requests_per_minute"], made["models"]), (7, ["demo"]))
        self.assertEqual((made["user_id"], made["role"]), (self.admin.id, "system_admin"))
        await self.publish()
        principal = self.holder.current.keys[self.digester.digest(made["key"].encode())]
        self.assertEqual(principal.key_id, made["id"])
        _, _, seen = await self.call("GET", f"/api/v1/keys/{made['id']}")
        self.assertNotIn("key", seen)
        self.assertNotIn("hash", seen)

    async def test_nothing_expires_after_the_last_year_that_can_be_written(self) -> None:
        """A moment that no reply could show is refused, and would not keep others from being listed."""
        for field, given in (
            ("expires_at", "9999-12-31T23:59:59-12:00"),
            ("expires_at", "9999-12-31T23:59:59.999Z"),
        ):
            status, _, body = await self.call("POST", "/api/v1/keys", {"name": "x", field: given})
            self.assertEqual((status, body["error"]["param"]), (400, field))
        self.assertEqual(show(1 << 62), "9999-12-31T23:59:59Z")

    async def test_no_models_is_not_the_same_as_all_models(self) -> None:
        """An empty list restricts a key to nothing; an absent one restricts nothing."""
        _, _, none = await self.call("POST", "/api/v1/keys", {"name": "a", "models": []})
        _, _, every = await self.call("POST", "/api/v1/keys", {"name": "b"})
        self.assertEqual((none["models"], every["models"]), ([], None))

    async def test_a_program_gets_a_service_account(self) -> None:
        """The first key for a service account makes it, the second one finds it."""
        body = {"name": "billing", "key_type": "sa_key"}
        status, _, first = await self.call("POST", "/api/v1/keys", body)
        _, _, second = await self.call("POST", "/api/v1/keys", body)
        self.assertEqual((status, first["key"][:6]), (201, "vl_sa_"))
        self.assertEqual(first["service_account_id"], second["service_account_id"])

    async def test_wrong_fields_are_named(self) -> None:
        """What is wrong with a body is told by name and nothing is made."""
        for body, param in (
            ({}, "name"),
            ({"name": "x", "nam": 1}, "nam"),
            ({"name": ""}, "name"),
            ({"name": "x\n"}, "name"),
            ({"name": "x", "key_type": "session_key"}, "key_type"),
            ({"name": "x", "key_type": "team_key"}, "team_id"),
            ({"name": "x", "team_id": "nobody"}, "team_id"),
            ({"name": "x", "user_id": "nobody@example.org"}, "user_id"),
            ({"name": "x", "org_id": "nowhere"}, "org_id"),
            ({"name": "x", "scopes": ["everything"]}, "scopes[0]"),
            ({"name": "x", "scopes": []}, "scopes"),
            ({"name": "x", "models": "demo"}, "models"),
            ({"name": "x", "models": ["a", None]}, "models[1]"),
            ({"name": "x", "requests_per_day": -1}, "requests_per_day"),
            ({"name": "x", "requests_per_day": True}, "requests_per_day"),
            ({"name": "x", "requests_per_day": 1.5}, "requests_per_day"),
            ({"name": "x", "expires_in": "soon"}, "expires_in"),
            ({"name": "x", "expires_at": "2020-01-01"}, "expires_at"),
        ):
            status, _, reply = await self.call("POST", "/api/v1/keys", body)
            self.assertEqual(reply["error"]["param"], param, body)
            self.assertIn(status, (400, 404))
        self.assertEqual(len(await self.store.list_keys(KeyFilter(include_revoked=True))), 7)

    async def test_bodies_that_are_not_one_object_are_refused(self) -> None:
        """Duplicate names, other JSON, no JSON and too much are refused cleanly."""
        for body, expected in (
            (b'{"name": "a", "name": "b"}', 400),
            (b"[1]", 400),
            (b'{"name": NaN}', 400),
            (b"{", 400),
            (b'"\xff"', 400),
            (b"[" * 60_000, 400),
            (json.dumps({"name": "x" * 70_000}).encode(), 413),
        ):
            status, headers, reply = await self.call("POST", "/api/v1/keys", body)
            self.assertEqual(status, expected, body[:20])
            self.assertEqual(headers["content-type"], "application/json")
            self.assertEqual(reply["error"]["request_id"], headers["x-request-id"])
        status, _, _ = await self.call("POST", "/api/v1/keys", b"x", **{"content-encoding": "gzip"})
        self.assertEqual(status, 415)


class ManagingKeys(AdminCase):
    async def test_keys_are_listed_in_pages(self) -> None:
        """Following ``next_cursor`` gives every key once, oldest first."""
        found: list[str] = []
        query = "limit=2"
        while True:
            _, _, page = await self.call("GET", f"/api/v1/keys?{query}")
            found += [key["id"] for key in page["data"]]
            if not page["has_more"]:
                break
            query = f"limit=2&cursor={page['next_cursor']}"
        self.assertNotIn("next_cursor", page)
        self.assertEqual(found, sorted(found))
        self.assertEqual(len(found), 7)

    async def test_a_revoked_key_is_gone_from_lists_and_from_use(self) -> None:
        """Revoking shows the key as revoked; a second time is a conflict."""
        path = f"/api/v1/keys/{self.ids['worker']}"
        status, _, revoked = await self.call("DELETE", path)
        self.assertEqual((status, revoked["revoked_at"]), (200, show(NOW)))
        self.assertEqual((await self.call("DELETE", path))[0], 409)
        _, _, page = await self.call("GET", "/api/v1/keys")
        self.assertNotIn(self.ids["worker"], [key["id"] for key in page["data"]])
        _, _, page = await self.call("GET", "/api/v1/keys?include_revoked=true")
        self.assertIn(self.ids["worker"], [key["id"] for key in page["data"]])

    async def test_a_key_is_replaced_once(self) -> None:
        """In its grace time it is not rotated again: that successor would end with it. Nothing is made."""
        path = f"/api/v1/keys/{self.ids['worker']}/rotate"
        status, _, made = await self.call("POST", path, {"grace": "1h"})
        self.assertEqual((status, made["new_key"]["expires_at"]), (200, None))
        before = len(await self.store.list_keys())
        status, _, refused = await self.call("POST", path, {"grace": "1h"})
        self.assertEqual((status, refused["error"]["code"]), (409, "conflict"))
        self.assertEqual(len(await self.store.list_keys()), before)
        successor = f"/api/v1/keys/{made['new_key']['id']}/rotate"
        self.assertEqual((await self.call("POST", successor, {"grace": "1h"}))[0], 200)

    async def test_a_rotated_key_stays_valid_for_the_grace_period(self) -> None:
        """Rotating gives a new key with everything of the old one, which ends later."""
        path = f"/api/v1/keys/{self.ids['worker']}/rotate"
        status, _, rotated = await self.call("POST", path, {"grace": "1h"})
        self.assertEqual(status, 200)
        self.assertEqual(rotated["new_key"]["name"], "worker")
        self.assertEqual(rotated["old_key"]["expires_at"], show(NOW + 3_600_000))
        old = await self.store.get_key(self.ids["worker"])
        self.assertEqual(old.expires_at_ms, NOW + 3_600_000)
        await self.publish()
        self.assertIn(self.digester.digest(rotated["new_key"]["key"].encode()), self.holder.current.keys)
        self.assertEqual((await self.call("POST", path, {"grace": "some"}))[2]["error"]["param"], "grace")

    async def test_unknown_keys_paths_methods_and_arguments(self) -> None:
        """Each mistake has its status, in JSON, and 405 says what there is."""
        for method, path, expected in (
            ("GET", "/api/v1/keys/nothing", 404),
            ("DELETE", "/api/v1/keys/nothing", 404),
            ("POST", "/api/v1/keys/nothing/rotate", 404),
            ("GET", "/api/v1/nothing", 404),
            ("GET", "/api/v1//keys", 404),
            ("GET", "/api/v1/keys/%ff", 404),
            ("PUT", "/api/v1/keys", 405),
            ("GET", "/api/v1/keys?limit=0", 400),
            ("GET", "/api/v1/keys?limt=1", 400),
            ("GET", "/api/v1/keys?limit=1&limit=2", 400),
            ("GET", "/api/v1/keys?include_revoked=yes", 400),
            ("GET", "/api/v1/keys?org_id=nowhere", 404),
        ):
            status, headers, reply = await self.call(method, path)
            self.assertEqual(status, expected, path)
            self.assertIn("message", reply["error"])
            if status == 405:
                self.assertEqual(headers["allow"], "GET, HEAD, POST")
