"""``/api/v1/users`` over a real socket, on both stores."""

from __future__ import annotations

import msgspec
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import NOW, OnPostgres, user
from tests.admin.tenants import TenantCase
from voidllm.admin.moments import show
from voidllm.admin.names import Email
from voidllm.auth.passwords import Passwords

_GOOD = {"email": "Ann@Example.org", "display_name": "Ann"}


class People(TenantCase):
    async def _set_up(self) -> None:
        await super()._set_up()
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        object.__setattr__(self.context, "passwords", Passwords(self.world, cheap))

    async def _path(self, name: str) -> str:
        return f"/api/v1/users/{self.users[name]}"

    async def _join(self, name: str, role: str = "member") -> None:
        """Make somebody a member of the other organisation as well."""
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?)",
            self.other.id,
            self.users[name],
            role,
            NOW,
        )

    async def test_one_is_made_shown_changed_and_removed(self) -> None:
        """Through all layers, each step on record, and never with the password."""
        seq = await self.last_audited()
        body = {**_GOOD, "password": "correct horse battery", "org_id": self.org.slug, "role": "org_admin"}
        made = await self.done("boss", "POST", "/api/v1/users", body, 201)
        expected = {
            "id": made["id"],
            "email": "ann@example.org",
            "display_name": "Ann",
            "auth_provider": "local",
            "has_password": True,
            "is_system_admin": False,
            "must_change_password": False,
            "created_at": show(NOW),
            "updated_at": show(NOW),
        }
        self.assertEqual(made, expected)
        path = f"/api/v1/users/{made['id']}"
        self.assertEqual(await self.done("boss", "GET", path), expected)
        member = await self.store.find_member(self.org.id, made["id"])
        self.assertEqual(member.role, "org_admin")
        patch = {"email": "ann.lee@example.org", "display_name": "Ann Lee"}
        self.assertEqual(await self.done("boss", "PATCH", path, patch), {**expected, **patch})
        await self.done("boss", "DELETE", path, status=204)
        await self.refused("system", "GET", path, None, 404)
        entries = await self.audited(seq)
        self.assertEqual(
            [entry[:3] for entry in entries],
            [
                ("create", "user", made["id"]),
                ("update", "user", made["id"]),
                ("delete", "user", made["id"]),
                ("delete", "membership", made["id"]),
            ],
        )
        self.assertEqual(entries[1][4]["email"], ["ann@example.org", "ann.lee@example.org"])
        self.assertNotIn("argon2", str(entries))

    async def test_nobody_goes_beyond_their_rank(self) -> None:
        """An administrator of an organisation has no power over one of the installation, or makes one."""
        system, peer = await self._path("system"), await self._path("other_boss")
        in_own = {**_GOOD, "org_id": self.org.id}
        for who, method, path, body, status, param in (
            ("boss", "PATCH", system, {"display_name": "x"}, 403, None),
            ("boss", "PATCH", system, {"password": "my own password"}, 403, None),
            ("boss", "PATCH", system, {"email": "me@example.org"}, 403, None),
            ("boss", "DELETE", system, None, 403, None),
            ("boss", "PATCH", await self._path("boss"), {"is_system_admin": True}, 403, "is_system_admin"),
            ("boss", "PATCH", await self._path("mate"), {"is_system_admin": True}, 403, "is_system_admin"),
            ("boss", "POST", "/api/v1/users", {**in_own, "is_system_admin": True}, 403, "is_system_admin"),
            ("boss", "GET", peer, None, 404, None),
            ("boss", "PATCH", peer, {"password": "my own password"}, 404, None),
            ("boss", "DELETE", peer, None, 404, None),
            ("boss", "POST", "/api/v1/users", {**_GOOD, "org_id": self.other.id}, 404, "org_id"),
            ("boss", "POST", "/api/v1/users", {**_GOOD, "org_id": "nowhere"}, 404, "org_id"),
            ("boss", "POST", "/api/v1/users", _GOOD, 400, "org_id"),
            ("boss", "GET", f"/api/v1/users?org={self.other.id}", None, 404, None),
            ("worker", "GET", "/api/v1/users", None, 403, None),
            ("lead", "POST", "/api/v1/users", in_own, 403, None),
            ("mate", "PATCH", await self._path("mate"), {"display_name": "x"}, 403, None),
        ):
            await self.refused(who, method, path, body, status, param)

    async def test_somebody_of_two_organisations_is_managed_by_who_administers_both(self) -> None:
        """Whoever administers one of them sees the person, and changes nothing of what is the person's."""
        await self._join("mate")
        path = await self._path("mate")
        for patch in ({"email": "x@example.org"}, {"password": "my own password"}, {"display_name": "x"}):
            await self.refused("boss", "PATCH", path, patch, 403)
        await self.refused("boss", "DELETE", path, None, 403)
        self.assertEqual((await self.done("boss", "GET", path))["id"], self.users["mate"])
        await self.done("system", "PATCH", path, {"display_name": "both"})

    async def test_a_removed_person_has_nothing_left(self) -> None:
        """Keys, sessions, memberships and ways to log in end in one transaction; the address is free."""
        person = self.users["mate"]
        await self.begin_session(person)
        await self.begin_session(self.users["worker"])
        seq = await self.last_audited()
        await self.done("boss", "DELETE", await self._path("mate"), status=204)
        self.assertEqual(await self.live_keys("mate", "worker"), ["worker"])
        self.assertEqual(
            [await self.sessions_of(person), await self.sessions_of(self.users["worker"])], [0, 1]
        )
        for table in ("org_memberships", "team_memberships"):
            left = await self.rows(f"SELECT 1 FROM {table} WHERE user_id = ?", person)
            self.assertEqual(left, [], table)
        revoked = [entry for entry in await self.audited(seq) if entry[0] == "revoke"]
        self.assertEqual([entry[1:3] for entry in revoked], [("key", self.ids["mate"])])
        touched = await self.rows(
            "SELECT kind, id FROM changes WHERE version = (SELECT version FROM change_version)"
        )
        self.assertIn(("key", self.ids["mate"]), touched)
        self.assertIn(("user", person), touched)
        self.assertEqual((await self.call("GET", "/api/v1/me", who="mate"))[0], 401)
        ((email,),) = await self.rows("SELECT email FROM users WHERE id = ?", person)
        again = {"email": email, "display_name": "Again", "org_id": self.org.id}
        await self.done("boss", "POST", "/api/v1/users", again, 201)

    async def test_the_last_administrators_stay(self) -> None:
        """Of the installation and of an organisation, whoever asks and whichever way."""
        await self.refused("system", "DELETE", await self._path("system"), None, 409)
        await self.refused("system", "PATCH", await self._path("system"), {"is_system_admin": False}, 409)
        for who in ("system", "other_boss"):
            await self.refused(who, "DELETE", await self._path("other_boss"), None, 409)
        await self.done("system", "PATCH", await self._path("mate"), {"is_system_admin": True})
        await self.done("mate", "PATCH", await self._path("system"), {"is_system_admin": False})
        await self.refused("mate", "DELETE", await self._path("mate"), None, 409)

    async def test_of_two_who_unmake_each_other_one_is_left(self) -> None:
        """At the same time, too."""
        await self.done("system", "PATCH", await self._path("mate"), {"is_system_admin": True})
        none = {"is_system_admin": False}
        work = [
            Deferred.fromCoroutine(self.call("PATCH", await self._path(target), none, who))
            for who, target in (("system", "mate"), ("mate", "system"))
        ]
        statuses = {(await one)[0] for one in work}
        self.assertIn(200, statuses)
        left = await self.rows("SELECT id FROM users WHERE is_system_admin = 1")
        self.assertEqual(len(left), 1)

    async def test_a_new_password_ends_sessions(self) -> None:
        """All of the person's, and of nobody else; who signs on elsewhere has none."""
        await self.begin_session(self.users["mate"])
        await self.begin_session(self.users["worker"])
        patch = {"password": "correct horse battery", "must_change_password": True}
        shown = await self.done("boss", "PATCH", await self._path("mate"), patch)
        self.assertEqual((shown["has_password"], shown["must_change_password"]), (True, True))
        self.assertEqual(await self.sessions_of(self.users["mate"]), 0)
        self.assertEqual(await self.sessions_of(self.users["worker"]), 1)
        await self.execute("UPDATE users SET auth_provider = 'oidc' WHERE id = ?", self.users["mate"])
        await self.refused("boss", "PATCH", await self._path("mate"), patch, 409, "password")

    async def test_wrong_fields_are_named_and_nothing_is_made(self) -> None:
        """Addresses that look like others, in any case, and passwords that are none."""
        ((email,),) = await self.rows("SELECT email FROM users WHERE id = ?", self.users["mate"])
        good = {**_GOOD, "org_id": self.org.id}
        for change, status, param in (
            ({"email": "no address"}, 400, "email"),
            ({"email": "a@b@example.org"}, 400, "email"),
            ({"email": "\u0430nn@example.org"}, 400, "email"),
            ({"email": "ann@ex\u0430mple.org"}, 400, "email"),
            ({"email": "ann@example.org\n"}, 400, "email"),
            ({"email": "ann @example.org"}, 400, "email"),
            ({"email": "\uff41nn@example.org"}, 400, "email"),
            ({"email": "a" * 65 + "@example.org"}, 400, "email"),
            ({"email": email.upper()}, 409, "email"),
            ({"display_name": ""}, 400, "display_name"),
            ({"display_name": "a\u200bb"}, 400, "display_name"),
            ({"password": "short"}, 400, "password"),
            ({"password": "x" * 300}, 400, "password"),
            ({"is_system_admin": "yes"}, 400, "is_system_admin"),
        ):
            await self.refused("boss", "POST", "/api/v1/users", {**good, **change}, status, param)
            await self.refused("boss", "PATCH", await self._path("worker"), change, status, param)
        for change, param in (({"role": "system_admin"}, "role"), ({"role": "team_admin"}, "role")):
            await self.refused("boss", "POST", "/api/v1/users", {**good, **change}, 400, param)
        await self.refused("system", "POST", "/api/v1/users", {**_GOOD, "role": "org_admin"}, 400, "org_id")

    async def test_lists(self) -> None:
        """Everybody to who administers everything, to others who belongs to what they administer."""
        mine = await self.done("boss", "GET", "/api/v1/users?limit=100")
        own = {self.users[name] for name in ("system", "boss", "worker", "lead", "mate")}
        self.assertEqual({person["id"] for person in mine["data"]}, own)
        every = await self.done("system", "GET", "/api/v1/users?sort=-email")
        emails = [person["email"] for person in every["data"]]
        self.assertEqual((len(emails), emails), (6, sorted(emails, reverse=True)))
        (admin,) = (await self.done("boss", "GET", "/api/v1/users?is_system_admin=true"))["data"]
        self.assertEqual(admin["id"], self.admin.id)
        (found,) = (await self.done("system", "GET", f"/api/v1/users?q={self.admin.email[:-4]}"))["data"]
        self.assertEqual(found["id"], self.admin.id)
        other = await self.done("system", "GET", f"/api/v1/users?org={self.other.slug}")
        self.assertEqual([person["id"] for person in other["data"]], [self.users["other_boss"]])

    async def test_a_change_is_made_only_to_what_was_seen(self) -> None:
        """If-Match holds for changing and for removing."""
        path = await self._path("worker")
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        await self.done("boss", "PATCH", path, {"display_name": "first"}, **tag)
        await self.refused("boss", "PATCH", path, {"display_name": "second"}, 412, **tag)
        await self.refused("boss", "DELETE", path, None, 412, **tag)

    async def test_a_repeated_request_makes_one(self) -> None:
        """With an Idempotency-Key the same request gives the same person."""
        body, key = {**_GOOD, "org_id": self.org.id}, {"idempotency-key": "k"}
        first = await self.done("boss", "POST", "/api/v1/users", body, 201, **key)
        self.assertEqual(await self.done("boss", "POST", "/api/v1/users", body, 201, **key), first)
        self.assertEqual(len(await self.rows("SELECT 1 FROM users WHERE email = 'ann@example.org'")), 1)

    async def test_many_keys_are_one_entry(self) -> None:
        """Removing somebody with more keys than anybody reads is summed up, and all of them are revoked."""
        person = await self.store.create_user(user(), self.org.id, "member")
        for number in range(101):
            await self.mint(f"key {number}", self.org, user_id=person.id)
        seq = await self.last_audited()
        await self.done("boss", "DELETE", f"/api/v1/users/{person.id}", status=204)
        (entry,) = [entry for entry in await self.audited(seq) if entry[1] == "key"]
        self.assertEqual((entry[2], entry[4]), (None, {"count": [None, 101]}))
        self.assertEqual(await self.live_keys(*(f"key {number}" for number in range(101))), [])


class PeopleOnPostgres(OnPostgres, People):
    """The same on PostgreSQL."""


class Addresses(SynchronousTestCase):
    """What may be an e-mail address."""

    @given(st.text(max_size=40) | st.emails() | st.from_regex(r"\A[a-z.@\n ]{0,20}\Z"))
    def test_only_what_nobody_can_mistake(self, text: str) -> None:
        """What is taken is ASCII without spaces, with one @ and something on both sides of it."""
        try:
            msgspec.convert(text, Email)
        except msgspec.ValidationError:
            return
        self.assertTrue(text.isascii() and text.isprintable() and " " not in text)
        name, at, domain = text.partition("@")
        self.assertTrue(name and at and domain and "@" not in domain)
        self.assertLessEqual(len(text), 254)
