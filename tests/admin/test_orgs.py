"""``/api/v1/orgs`` over a real socket, on both stores."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import NOW, OnPostgres
from tests.admin.tenants import TenantCase
from voidllm.admin.moments import show
from voidllm.admin.names import Slug
from voidllm.core.principal import Limits

_LIMITS = {
    "requests_per_minute": 1,
    "requests_per_day": 2,
    "tokens_per_minute": 3,
    "daily_token_limit": 4,
    "monthly_token_limit": 5,
}


class Organisations(TenantCase):
    async def test_one_is_made_shown_changed_and_removed(self) -> None:
        """Through all layers, and each step is on record with what differs."""
        seq = await self.last_audited()
        body = {"name": "Lab", "slug": "lab", "timezone": "Europe/Berlin", **_LIMITS}
        made = await self.done("system", "POST", "/api/v1/orgs", body, 201)
        expected = {
            **body,
            "id": made["id"],
            "member_count": 0,
            "team_count": 0,
            "created_at": show(NOW),
            "updated_at": show(NOW),
        }
        self.assertEqual(made, expected)
        for ref in (made["id"], "lab"):
            self.assertEqual(await self.done("system", "GET", f"/api/v1/orgs/{ref}"), expected)
        patch = {"name": "Labs", "timezone": None, "daily_token_limit": None}
        changed = await self.done("system", "PATCH", "/api/v1/orgs/lab", patch)
        self.assertEqual(changed, {**expected, "name": "Labs", "timezone": "UTC", "daily_token_limit": 0})
        await self.done("system", "DELETE", "/api/v1/orgs/lab", status=204)
        await self.refused("system", "GET", f"/api/v1/orgs/{made['id']}", None, 404)
        id_ = made["id"]
        create, update, delete = await self.audited(seq)
        self.assertEqual(create[:4], ("create", "org", id_, id_))
        self.assertEqual(create[4]["slug"], [None, "lab"])
        self.assertEqual(
            update,
            (
                "update",
                "org",
                id_,
                id_,
                {"name": ["Lab", "Labs"], "timezone": ["Europe/Berlin", "UTC"], "tokens_per_day": [4, 0]},
            ),
        )
        self.assertEqual((delete[0], delete[4]["name"]), ("delete", ["Labs", None]))

    async def test_an_administrator_sees_and_changes_their_own_only(self) -> None:
        """Members see none, and others' organisations are not there."""
        own, other = f"/api/v1/orgs/{self.org.id}", f"/api/v1/orgs/{self.other.id}"
        self.assertEqual((await self.done("boss", "GET", own))["id"], self.org.id)
        listed = await self.done("boss", "GET", "/api/v1/orgs")
        self.assertEqual([org["id"] for org in listed["data"]], [self.org.id])
        for who, method, path, body, status in (
            ("boss", "GET", other, None, 404),
            ("boss", "PATCH", other, {"name": "mine"}, 404),
            ("boss", "DELETE", other, None, 404),
            ("boss", "DELETE", own, None, 403),
            ("boss", "POST", "/api/v1/orgs", {"name": "x", "slug": "xx"}, 403),
            ("worker", "GET", own, None, 403),
            ("worker", "GET", "/api/v1/orgs", None, 403),
            ("lead", "PATCH", own, {"name": "mine"}, 403),
            (None, "PATCH", own, {"name": "mine"}, 401),
        ):
            await self.refused(who, method, path, body, status)
        await self.done("boss", "PATCH", own, {"name": "ours", "slug": "ours"})
        self.assertEqual((await self.store.find_org("ours")).name, "ours")

    async def test_its_own_administrator_lowers_limits_only(self) -> None:
        """Whoever stands above the organisation may raise them, within those of the installation."""
        own = f"/api/v1/orgs/{self.org.id}"
        await self.done("boss", "PATCH", own, {"requests_per_day": 100})
        await self.done("boss", "PATCH", own, {"requests_per_day": 50})
        for value in (51, 0, None):
            await self.refused("boss", "PATCH", own, {"requests_per_day": value}, 403, "requests_per_day")
        await self.store.set_limits("system", "", Limits(tokens_per_day=10))
        await self.done("system", "PATCH", own, {"requests_per_day": 60, "daily_token_limit": 10})
        await self.refused("system", "PATCH", own, {"daily_token_limit": 11}, 400, "daily_token_limit")
        await self.refused(
            "system", "POST", "/api/v1/orgs", {"name": "x", "slug": "xx", "daily_token_limit": 11}, 400,
            "daily_token_limit",
        )  # fmt: skip
        await self.store.set_limits("system", "", Limits(tokens_per_day=5))
        # What was allowed when it was set does not keep anybody from changing something else.
        await self.done("system", "PATCH", own, {"name": "n"})

    async def test_wrong_fields_are_named_and_nothing_is_made(self) -> None:
        """Slugs that look like others, time zones that are none, and what must not be there."""
        good = {"name": "x", "slug": "xx"}
        for change, param in (
            ({"slug": "x"}, "slug"),
            ({"slug": "Xx"}, "slug"),
            ({"slug": "-xx"}, "slug"),
            ({"slug": "xx-"}, "slug"),
            ({"slug": "x" * 64}, "slug"),
            ({"slug": "de\u0430r"}, "slug"),
            ({"slug": "\uff58\uff58"}, "slug"),
            ({"slug": "xx\n"}, "slug"),
            ({"slug": "xx' OR '1'='1"}, "slug"),
            ({"slug": None}, "slug"),
            ({"name": ""}, "name"),
            ({"name": "a\u202eb"}, "name"),
            ({"name": "a\u0000b"}, "name"),
            ({"name": 5}, "name"),
            ({"timezone": "Mars/Olympus"}, "timezone"),
            ({"timezone": "../../etc/passwd"}, "timezone"),
            ({"timezone": "europe/berlin"}, "timezone"),
            ({"timezone": "localtime"}, "timezone"),
            ({"requests_per_minute": -1}, "requests_per_minute"),
            ({"daily_token_limit": 1.5}, "daily_token_limit"),
            ({"monthly_token_limit": 2**63}, "monthly_token_limit"),
            ({"id": "mine"}, "id"),
        ):
            await self.refused("system", "POST", "/api/v1/orgs", {**good, **change}, 400, param)
            if change != {"slug": None}:
                await self.refused("system", "PATCH", f"/api/v1/orgs/{self.org.id}", change, 400, param)

    async def test_a_slug_is_one_organisations_until_it_is_removed(self) -> None:
        """Taken by another it is a conflict; after a removal it may be used again, and again."""
        await self.refused("system", "POST", "/api/v1/orgs", {"name": "x", "slug": "other"}, 409, "slug")
        own = f"/api/v1/orgs/{self.org.id}"
        await self.refused("boss", "PATCH", own, {"slug": "other"}, 409, "slug")
        for _ in range(2):
            made = await self.done("system", "POST", "/api/v1/orgs", {"name": "x", "slug": "again"}, 201)
            await self.done("system", "DELETE", f"/api/v1/orgs/{made['id']}", status=204)
        self.assertIsNone(await self.store.find_org("again"))
        names = await self.store.named("org", [made["id"]])
        self.assertEqual((names[made["id"]].name, names[made["id"]].slug), ("x", None))

    async def test_a_slug_that_is_anothers_id_hides_nothing(self) -> None:
        """An id always means the organisation that has it."""
        await self.done("boss", "PATCH", f"/api/v1/orgs/{self.org.id}", {"slug": self.other.id})
        shown = await self.done("other_boss", "GET", f"/api/v1/orgs/{self.other.id}")
        self.assertEqual(shown["id"], self.other.id)

    async def test_a_removed_organisation_takes_everything_along(self) -> None:
        """Teams, programs, memberships, keys and sessions, at once and on record; its people stay."""
        for name in ("worker", "system", "other_boss"):
            await self.begin_session(self.users[name])
        seq = await self.last_audited()
        await self.mint("root", self.other, user_id=self.admin.id)
        await self.publish()
        await self.done("root", "DELETE", f"/api/v1/orgs/{self.org.id}", status=204)
        keys = ("system", "boss", "lead", "mate", "worker", "other_boss", "root")
        self.assertEqual(await self.live_keys(*keys), ["other_boss", "root"])
        names = ("worker", "system", "other_boss")
        self.assertEqual([await self.sessions_of(self.users[name]) for name in names], [0, 1, 1])
        for table, column in (("org_memberships", "org_id"), ("team_memberships", "org_id")):
            left = await self.rows(f"SELECT 1 FROM {table} WHERE {column} = ?", self.org.id)
            self.assertEqual(left, [], table)
        self.assertEqual(await self.rows("SELECT 1 FROM teams WHERE deleted_at_ms IS NULL"), [])
        self.assertEqual(len(await self.rows("SELECT 1 FROM users WHERE deleted_at_ms IS NULL")), 6)
        kinds = [entry[:2] for entry in await self.audited(seq)]
        self.assertEqual(kinds[0], ("delete", "org"))
        self.assertEqual(kinds.count(("revoke", "key")), 6)
        self.assertEqual(kinds.count(("delete", "membership")), 5)
        self.assertEqual(kinds.count(("delete", "team")), 1)
        for who in ("boss", "worker"):
            self.assertEqual((await self.call("GET", "/api/v1/me", who=who))[0], 401)
        await self.publish()
        live = {principal.key_id for principal in self.holder.current.keys.values()}
        self.assertEqual(live, {self.ids["other_boss"], self.ids["root"]})

    async def test_lists(self) -> None:
        """Searched, sorted, and page after page; cursors of another order are refused."""
        ids = {}
        for n in range(3):
            body = {"name": f"Zed {2 - n}", "slug": f"zed-{n}"}
            ids[f"zed-{n}"] = (await self.done("system", "POST", "/api/v1/orgs", body, 201))["id"]
        # The clock stands still, so ids tell the order, but not that of the calls.
        made = sorted(ids, key=lambda slug: ids[slug])
        for sort, expected in (
            ("created_at", made),
            ("-created_at", made[::-1]),
            ("name", ["zed-2", "zed-1", "zed-0"]),
            ("-slug", ["zed-2", "zed-1", "zed-0"]),
        ):
            found, cursor = [], ""
            while True:
                page = await self.done("system", "GET", f"/api/v1/orgs?q=ZED&limit=1&sort={sort}{cursor}")
                found += [org["slug"] for org in page["data"]]
                if not page["has_more"]:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            self.assertEqual(found, expected, sort)
        await self.refused("system", "GET", f"/api/v1/orgs?sort=name{cursor}", None, 400, "cursor")
        await self.refused("system", "GET", "/api/v1/orgs?sort=limits", None, 400, "sort")


class ConcurrentChanges(TenantCase):
    async def test_of_two_changes_of_the_same_thing_one_is_refused(self) -> None:
        """The ETag is compared where nobody else can come between."""
        path = f"/api/v1/orgs/{self.org.id}"
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        work = [Deferred.fromCoroutine(self.call("PATCH", path, {"name": name}, **tag)) for name in "abcd"]
        statuses = sorted([(await one)[0] for one in work])
        self.assertEqual(statuses, [200, 412, 412, 412])
        await self.refused("system", "DELETE", path, None, 412, **tag)

    async def test_changes_of_different_fields_all_happen(self) -> None:
        """Without If-Match none undoes another."""
        path = f"/api/v1/orgs/{self.org.id}"
        patches: list[dict[str, Any]] = [{name: number} for name, number in _LIMITS.items()]
        work = [Deferred.fromCoroutine(self.call("PATCH", path, patch)) for patch in patches]
        self.assertEqual({(await one)[0] for one in work}, {200})
        shown = await self.done("system", "GET", path)
        self.assertEqual({name: shown[name] for name in _LIMITS}, _LIMITS)

    async def test_a_patch_that_changes_nothing_is_no_change(self) -> None:
        """Neither the version nor the record grows."""
        seq, before = await self.last_audited(), await self.stored()
        await self.done("boss", "PATCH", f"/api/v1/orgs/{self.org.id}", {"name": self.org.name})
        await self.done("boss", "PATCH", f"/api/v1/orgs/{self.org.id}", {})
        self.assertEqual((await self.last_audited(), await self.stored()), (seq, before))


class OrganisationsOnPostgres(OnPostgres, Organisations):
    """The same on PostgreSQL."""


class ConcurrentChangesOnPostgres(OnPostgres, ConcurrentChanges):
    """The same on PostgreSQL."""


class Slugs(SynchronousTestCase):
    """What may be a slug."""

    @given(st.text(max_size=70) | st.from_regex(r"\A[a-z0-9-]{0,66}\n?\Z"))
    def test_only_what_nobody_can_mistake(self, text: str) -> None:
        """2 to 63 lower-case ASCII letters, digits and inner hyphens, and nothing else."""
        allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
        good = 2 <= len(text) <= 63 and set(text) <= allowed and text[0] != "-" and text[-1] != "-"
        try:
            msgspec.convert(text, Slug)
        except msgspec.ValidationError:
            self.assertFalse(good)
        else:
            self.assertTrue(good)
