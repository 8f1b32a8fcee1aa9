"""``/api/v1/orgs/{org_id}/members`` over a real socket, on both stores."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from tests.admin.support import NOW, OnPostgres, user
from tests.admin.tenants import TenantCase
from tests.store.support import org
from voidllm.admin.moments import show
from voidllm.auth.sessions import new_token


class Members(TenantCase):
    def path(self, name: str = "", org: str = "") -> str:
        base = f"/api/v1/orgs/{org or self.org.id}/members"
        return f"{base}/{self.users[name]}" if name else base

    async def roles(self, org_id: str) -> dict[str, str]:
        found = await self.rows("SELECT user_id, role FROM org_memberships WHERE org_id = ?", org_id)
        return dict(found)

    async def test_somebody_joins_rises_and_leaves(self) -> None:
        """Each step is stored and on record, with the organisation that it was in."""
        person = await self.store.create_user(user())
        seq = await self.last_audited()
        made = await self.done("system", "POST", self.path(), {"user_id": person.id}, 201)
        expected = {
            "id": person.id,
            "org_id": self.org.id,
            "user_id": person.id,
            "role": "member",
            "created_at": show(NOW),
        }
        self.assertEqual(made, expected)
        path = f"{self.path()}/{person.id}"
        self.assertEqual(await self.done("boss", "GET", path), expected)
        risen = await self.done("boss", "PATCH", path, {"role": "org_admin"})
        self.assertEqual(risen, {**expected, "role": "org_admin"})
        self.assertEqual((await self.roles(self.org.id))[person.id], "org_admin")
        await self.done("boss", "DELETE", path, status=204)
        self.assertNotIn(person.id, await self.roles(self.org.id))
        await self.refused("boss", "GET", path, None, 404)
        self.assertEqual(
            await self.audited(seq),
            [
                ("create", "membership", person.id, self.org.id, {"role": [None, "member"]}),
                ("update", "membership", person.id, self.org.id, {"role": ["member", "org_admin"]}),
                ("delete", "membership", person.id, self.org.id, {"role": ["org_admin", None]}),
            ],
        )

    async def test_nobody_acts_on_somebody_above_or_elsewhere(self) -> None:
        """State stays, whoever asks and whatever for."""
        outsider = await self.store.create_user(user())
        root = await self.store.create_user(user(is_system_admin=True))
        new = {"user_id": outsider.id}
        theirs = self.path(org=self.other.id)
        for who, method, path, body, status, param in (
            ("boss", "PATCH", self.path("system"), {"role": "member"}, 403, None),
            ("boss", "DELETE", self.path("system"), None, 403, None),
            ("boss", "POST", self.path(), {"user_id": root.id}, 404, "user_id"),
            ("boss", "POST", self.path(), new, 404, "user_id"),
            ("boss", "POST", self.path(), {"user_id": self.users["other_boss"]}, 404, "user_id"),
            ("boss", "POST", theirs, new, 404, None),
            ("boss", "GET", theirs, None, 404, None),
            ("boss", "DELETE", self.path("other_boss", self.other.id), None, 404, None),
            ("boss", "DELETE", f"{self.path()}/{self.users['other_boss']}", None, 404, None),
            ("boss", "POST", self.path(), {**new, "role": "system_admin"}, 400, "role"),
            ("boss", "POST", self.path(), {**new, "role": "team_admin"}, 400, "role"),
            ("boss", "POST", self.path(), {"user_id": "nobody"}, 404, "user_id"),
            ("boss", "POST", self.path(), {}, 400, "user_id"),
            ("boss", "POST", self.path(), {"user_id": self.users["mate"]}, 409, "user_id"),
            ("worker", "GET", self.path(), None, 403, None),
            ("worker", "POST", self.path(), new, 403, None),
            ("lead", "PATCH", self.path("lead"), {"role": "org_admin"}, 403, None),
            ("mate", "DELETE", self.path("worker"), None, 403, None),
        ):
            await self.refused(who, method, path, body, status, param)

    async def test_who_administers_both_organisations_adds(self) -> None:
        """Somebody of the one to the other, but nobody of a third, and no system administrator."""
        third = await self.store.create_org(org(name="Third", slug="third"))
        stranger = await self.store.create_user(user(), third.id, "member")
        root = await self.store.create_user(user(is_system_admin=True), self.org.id, "member")
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?)",
            self.other.id,
            self.users["boss"],
            "org_admin",
            NOW,
        )
        token = new_token(os.urandom, self.digester.digest)
        begun = await self.begin_session(self.users["boss"])
        digest = self.digester.digest(token.encode()).hex()
        await self.execute("UPDATE sessions SET hash = ? WHERE id = ?", digest, begun)
        self.keys["both"] = token
        theirs = self.path(org=self.other.id)
        await self.refused("both", "POST", theirs, {"user_id": stranger.id}, 404, "user_id")
        await self.refused("both", "POST", theirs, {"user_id": root.id}, 403)
        mate = self.users["mate"]
        await self.done("both", "POST", theirs, {"user_id": mate}, 201)
        self.assertEqual((await self.roles(self.other.id))[mate], "member")

    async def test_whoever_leaves_takes_nothing_along(self) -> None:
        """Keys there are revoked, teams are left, and sessions end unless there is another home."""
        person, other = self.users["mate"], self.users["lead"]
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, 'member', ?)",
            self.other.id,
            other,
            NOW,
        )
        await self.mint("elsewhere", self.other, user_id=other)
        for name in ("mate", "lead", "worker"):
            await self.begin_session(self.users[name])
        seq = await self.last_audited()
        for name in ("mate", "lead"):
            await self.done("boss", "DELETE", self.path(name), status=204)
        self.assertEqual(await self.live_keys("mate", "lead", "worker", "elsewhere"), ["worker", "elsewhere"])
        self.assertEqual(
            [await self.sessions_of(self.users[name]) for name in ("mate", "lead", "worker")], [0, 1, 1]
        )
        self.assertEqual(await self.rows("SELECT 1 FROM team_memberships"), [])
        self.assertIn(other, await self.roles(self.other.id))
        entries = [entry[:3] for entry in await self.audited(seq)]
        self.assertEqual(
            entries[:3],
            [
                ("delete", "membership", person),
                ("revoke", "key", self.ids["mate"]),
                ("delete", "team_membership", person),
            ],
        )
        self.assertEqual((await self.call("GET", "/api/v1/me", who="mate"))[0], 401)

    async def test_the_last_administrator_stays(self) -> None:
        """Neither removed nor demoted, even by somebody above; a second one sets them free."""
        path = self.path("other_boss", self.other.id)
        for who in ("system", "other_boss"):
            await self.refused(who, "DELETE", path, None, 409)
            await self.refused(who, "PATCH", path, {"role": "member"}, 409)
        second = {"user_id": self.users["worker"], "role": "org_admin"}
        await self.done("system", "POST", self.path(org=self.other.id), second, 201)
        await self.done("other_boss", "DELETE", path, status=204)
        self.assertEqual(await self.roles(self.other.id), {self.users["worker"]: "org_admin"})

    async def test_of_two_who_demote_each_other_one_is_left(self) -> None:
        """At the same time, too."""
        second = {"user_id": self.users["worker"], "role": "org_admin"}
        await self.done("system", "POST", self.path(org=self.other.id), second, 201)
        work = [
            Deferred.fromCoroutine(self.call("DELETE", self.path(name, self.other.id), None, "system"))
            for name in ("other_boss", "worker")
        ]
        self.assertEqual(sorted([(await one)[0] for one in work]), [204, 409])
        self.assertEqual(list((await self.roles(self.other.id)).values()), ["org_admin"])

    async def test_lists_have_names_sorted_and_searched(self) -> None:
        """With expand=user no second request is needed to say who is meant."""
        page = await self.done("boss", "GET", f"{self.path()}?expand=user&limit=100")
        emails = [member["user"]["email"] for member in page["data"]]
        self.assertEqual((len(emails), emails), (5, sorted(emails)))
        back = await self.done("boss", "GET", f"{self.path()}?sort=-email&limit=3")
        rest = await self.done(
            "boss", "GET", f"{self.path()}?sort=-email&limit=3&cursor={back['next_cursor']}"
        )
        ids = [member["user_id"] for member in (*back["data"], *rest["data"])]
        self.assertEqual(ids, [member["user_id"] for member in page["data"]][::-1])
        admins = await self.done("boss", "GET", f"{self.path()}?role=org_admin")
        self.assertEqual(
            {member["user_id"] for member in admins["data"]}, {self.users["boss"], self.admin.id}
        )
        (found,) = (await self.done("boss", "GET", f"{self.path()}?q={emails[0]}"))["data"]
        self.assertEqual(found["user_id"], page["data"][0]["user_id"])

    async def test_a_change_is_made_only_to_what_was_seen(self) -> None:
        """If-Match holds for the role and for leaving."""
        path = self.path("worker")
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        await self.done("boss", "PATCH", path, {"role": "org_admin"}, **tag)
        await self.refused("boss", "PATCH", path, {"role": "member"}, 412, **tag)
        await self.refused("boss", "DELETE", path, None, 412, **tag)


class MembersOnPostgres(OnPostgres, Members):
    """The same on PostgreSQL."""
