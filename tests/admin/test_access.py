"""Who may administer what over TCP."""

from __future__ import annotations

from typing import Any

from tests.admin.support import NOW, AdminCase


class WhoMayCall(AdminCase):
    async def test_only_known_living_keys_are_heard(self) -> None:
        """No key, something else, an unknown key and an expired one are a 401 with a challenge."""
        await self.mint("old", self.org, user_id=self.admin.id, expires_at_ms=NOW + 1)
        await self.publish()
        object.__setattr__(self.world, "wall_ms", lambda: NOW + 1)
        for authorization in (None, "Bearer x", "Bearer vl_uk_" + "0" * 48, f"Bearer {self.keys['old']}"):
            headers = {} if authorization is None else {"authorization": authorization}
            status, got, _ = await self.call("GET", "/api/v1/keys", who=None, **headers)
            self.assertEqual((status, got.get("www-authenticate")), (401, "Bearer"), authorization)

    async def test_an_inference_key_is_no_admin_key(self) -> None:
        """Each scope is needed for what it is for, whoever the key's owner is."""
        await self.mint("plain", self.org, user_id=self.admin.id, scopes=frozenset({"inference"}))
        await self.mint("reader", self.org, user_id=self.admin.id, scopes=frozenset({"admin:read"}))
        await self.publish()
        for who, method, path, expected in (
            ("plain", "GET", "/api/v1/keys", 403),
            ("plain", "GET", "/api/v1/usage", 403),
            ("plain", "GET", "/api/v1/config", 403),
            ("plain", "POST", "/api/v1/keys", 403),
            ("reader", "GET", "/api/v1/keys", 200),
            ("reader", "GET", "/api/v1/usage", 200),
            ("reader", "GET", "/api/v1/config", 200),
            ("reader", "POST", "/api/v1/keys", 403),
            ("reader", "DELETE", f"/api/v1/keys/{self.ids['worker']}", 403),
            ("reader", "POST", f"/api/v1/keys/{self.ids['worker']}/rotate", 403),
        ):
            status, _, _ = await self.call(method, path, {"name": "x"} if method == "POST" else None, who)
            self.assertEqual(status, expected, (who, method, path))

    async def test_members_administer_nothing(self) -> None:
        """A role below org_admin is refused even with every scope."""
        for path in ("/api/v1/keys", "/api/v1/usage", "/api/v1/config"):
            self.assertEqual((await self.call("GET", path, who="worker"))[0], 403)


class WhatAnOrgAdminMayDo(AdminCase):
    async def test_only_their_own_organisation_is_there(self) -> None:
        """Keys of another organisation are neither listed nor found."""
        _, _, page = await self.call("GET", "/api/v1/keys", who="other_boss")
        self.assertEqual([key["id"] for key in page["data"]], [self.ids["other_boss"]])
        for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            path = f"/api/v1/keys/{self.ids['worker']}{more}"
            self.assertEqual((await self.call(method, path, who="other_boss"))[0], 404)
        self.assertEqual(
            (await self.call("GET", f"/api/v1/keys?org_id={self.org.slug}", who="other_boss"))[0], 404
        )
        body = {"name": "x", "org_id": self.org.id}
        self.assertEqual((await self.call("POST", "/api/v1/keys", body, "other_boss"))[0], 404)

    async def test_nobody_acts_on_somebody_above_them(self) -> None:
        """An org_admin neither mints for a system_admin nor revokes or rotates one's key."""
        for method, path, body in (
            ("POST", "/api/v1/keys", {"name": "x", "user_id": self.admin.email}),
            ("POST", f"/api/v1/keys/{self.ids['system']}/rotate", {}),
            ("DELETE", f"/api/v1/keys/{self.ids['system']}", None),
        ):
            status, _, _ = await self.call(method, path, body, "boss")
            self.assertEqual(status, 403, path)
        self.assertIsNone((await self.store.get_key(self.ids["system"])).revoked_at_ms)

    async def test_nobody_gives_scopes_that_they_do_not_have(self) -> None:
        """Neither a new key nor a rotated one has more scopes than its maker's."""
        await self.mint("writer", self.org, user_id=self.admin.id, scopes=frozenset({"admin:write"}))
        await self.publish()
        for body in ({"name": "x"}, {"name": "x", "scopes": ["admin:read", "admin:write"]}):
            status, _, reply = await self.call("POST", "/api/v1/keys", body, "writer")
            self.assertEqual((status, reply["error"]["param"]), (403, "scopes"))
        path = f"/api/v1/keys/{self.ids['worker']}/rotate"
        self.assertEqual((await self.call("POST", path, {}, "writer"))[0], 403)
        body = {"name": "x", "scopes": ["admin:write"]}
        self.assertEqual((await self.call("POST", "/api/v1/keys", body, "writer"))[0], 201)

    async def test_a_key_is_made_for_oneself_by_default(self) -> None:
        """An org_admin's new key is their own, with their own role."""
        _, _, made = await self.call("POST", "/api/v1/keys", {"name": "mine"}, "boss")
        mine: Any = await self.store.get_key(self.ids["boss"])
        self.assertEqual((made["user_id"], made["role"]), (mine.user_id, "org_admin"))

    async def test_the_configuration_is_the_system_admins(self) -> None:
        """It is about the whole installation."""
        self.assertEqual((await self.call("GET", "/api/v1/config", who="boss"))[0], 403)
        status, _, view = await self.call("GET", "/api/v1/config")
        self.assertEqual((status, view), (200, {"database": {"driver": "sqlite"}}))
