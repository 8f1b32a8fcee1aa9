"""What all resources share, shown on keys: merge patches, entity tags, repeated requests, pages."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred

from tests.admin.support import NOW, AdminCase, OnPostgres
from voidllm.admin import once
from voidllm.admin.access import OPERATOR
from voidllm.admin.calls import Request, perform
from voidllm.admin.moments import show
from voidllm.admin.routes import ROUTES
from voidllm.core.errors import StoreTimeout
from voidllm.store.records import KeyFilter

_DAY = 86_400_000


class MergePatches(AdminCase):
    async def test_absent_stays_and_null_takes_away(self) -> None:
        """What a patch does not name is left, and null clears what can be cleared."""
        body = {
            "name": "a",
            "models": ["m"],
            "daily_token_limit": 5,
            "requests_per_day": 6,
            "expires_in": "1d",
        }
        _, _, made = await self.call("POST", "/api/v1/keys", body)
        path = f"/api/v1/keys/{made['id']}"
        before = {name: value for name, value in made.items() if name != "key"}
        for patch, changes in (
            ({}, {}),
            ({"name": "b", "daily_token_limit": 7}, {"name": "b", "daily_token_limit": 7}),
            ({"models": [], "requests_per_day": 0}, {"models": [], "requests_per_day": 0}),
            ({"models": None, "daily_token_limit": None}, {"models": None, "daily_token_limit": 0}),
            ({"expires_at": "2026-12-24T12:00:00+02:00"}, {"expires_at": "2026-12-24T10:00:00Z"}),
            ({"expires_at": None}, {"expires_at": None}),
        ):
            status, _, after = await self.call("PATCH", path, patch)
            self.assertEqual((status, after), (200, {**before, **changes}), patch)
            self.assertEqual((await self.call("GET", path))[2], after)
            before = after

    async def test_wrong_patches_change_nothing(self) -> None:
        """What may not be cleared, may not be changed at all, or has passed, is named."""
        path = f"/api/v1/keys/{self.ids['worker']}"
        _, _, before = await self.call("GET", path)
        for patch, param in (
            ({"name": None}, "name"),
            ({"name": "x", "scopes": ["inference"]}, "scopes"),
            ({"name": "x", "id": "y"}, "id"),
            ({"name": "x", "daily_token_limit": -1}, "daily_token_limit"),
            ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
            ({"name": "x", "expires_at": "2026-12-24T12:00:00"}, "expires_at"),
        ):
            status, _, reply = await self.call("PATCH", path, patch)
            self.assertEqual((status, reply["error"]["param"]), (400, param), patch)
        self.assertEqual((await self.call("GET", path))[2], before)

    async def test_nobody_patches_what_is_not_theirs(self) -> None:
        """Keys of another organisation are not there, and those of somebody above are out of reach."""
        for who, key, expected in (
            ("other_boss", "worker", 404),
            ("boss", "system", 403),
            ("worker", "worker", 403),
        ):
            path = f"/api/v1/keys/{self.ids[key]}"
            self.assertEqual((await self.call("PATCH", path, {"name": "stolen"}, who))[0], expected)
            self.assertEqual((await self.call("GET", path))[2]["name"], key)


class EntityTags(AdminCase):
    async def test_a_change_is_made_only_to_what_was_seen(self) -> None:
        """With If-Match the second of two changes that were decided on the same key is refused."""
        path = f"/api/v1/keys/{self.ids['worker']}"
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        status, changed, _ = await self.call("PATCH", path, {"name": "first"}, **tag)
        self.assertEqual(status, 200)
        self.assertNotEqual(changed["etag"], headers["etag"])
        for method, body in (("PATCH", {"name": "second"}), ("DELETE", None)):
            self.assertEqual((await self.call(method, path, body, **tag))[0], 412)
        stored = await self.store.get_key(self.ids["worker"])
        self.assertEqual((stored.name, stored.revoked_at_ms), ("first", None))
        tags = f'"other", {changed["etag"]}'
        self.assertEqual((await self.call("DELETE", path, **{"if-match": tags}))[0], 200)

    async def test_what_is_known_is_not_sent_again(self) -> None:
        """If-None-Match, weak or strong or any, gives 304 until the key changes."""
        path = f"/api/v1/keys/{self.ids['worker']}"
        _, headers, _ = await self.call("GET", path)
        for known in (headers["etag"], f"W/{headers['etag']}", "*"):
            status, again, body = await self.call("GET", path, **{"if-none-match": known})
            self.assertEqual((status, again["etag"], body), (304, headers["etag"], b""))
        await self.call("PATCH", path, {"name": "other"})
        status, _, _ = await self.call("GET", path, **{"if-none-match": headers["etag"]})
        self.assertEqual(status, 200)

    async def test_changes_at_the_same_time_all_happen(self) -> None:
        """Without If-Match patches of different fields do not undo each other."""
        path = f"/api/v1/keys/{self.ids['worker']}"
        fields = ("daily_token_limit", "tokens_per_minute", "requests_per_day")
        work = [
            Deferred.fromCoroutine(self.call("PATCH", path, {field: number}))
            for number, field in enumerate(fields, 1)
        ]
        self.assertEqual([(await one)[0] for one in work], [200, 200, 200])
        _, _, key = await self.call("GET", path)
        self.assertEqual([key[field] for field in fields], [1, 2, 3])


class RepeatedRequests(AdminCase):
    async def make(self, body: Any, key: str = "k", who: str = "system") -> Any:
        return await self.call("POST", "/api/v1/keys", body, who, **{"idempotency-key": key})

    async def test_a_repeated_request_has_the_same_answer_without_the_secret(self) -> None:
        """One key is made, and what is kept of the answer does not hold it."""
        _, first_headers, first = await self.make({"name": "ci"})
        status, headers, second = await self.make({"name": "ci"})
        self.assertNotIn("idempotency-replayed", first_headers)
        self.assertEqual((status, headers["idempotency-replayed"]), (201, "true"))
        self.assertEqual(second, {name: value for name, value in first.items() if name != "key"})
        self.assertEqual(len(await self.store.list_keys()), 8)
        kept = await self.store.idempotency_begin(f"user {self.admin.id}", "k", "", NOW, NOW + 1)
        self.assertNotIn(first["key"], kept.reply)
        self.assertIn(first["id"], kept.reply)

    async def test_a_rotation_too(self) -> None:
        """The secret is left out of where it is in that answer."""
        path = f"/api/v1/keys/{self.ids['worker']}/rotate"
        _, _, first = await self.call("POST", path, {}, **{"idempotency-key": "r"})
        status, _, second = await self.call("POST", path, {}, **{"idempotency-key": "r"})
        self.assertEqual(status, 200)
        del first["new_key"]["key"]
        self.assertEqual(second, first)

    async def test_keys_of_others_are_others(self) -> None:
        """Two callers may choose the same key, and one may not use it for two requests."""
        await self.make({"name": "ci"})
        status, headers, _ = await self.make({"name": "ci"}, who="boss")
        self.assertEqual((status, "idempotency-replayed" in headers), (201, False))
        status, _, reply = await self.make({"name": "cd"})
        self.assertEqual((status, reply["error"]["code"]), (422, "idempotency_key_reused"))
        self.assertEqual(reply["error"]["param"], "Idempotency-Key")
        self.assertEqual((await self.make({"name": "x"}, key="a b"))[0], 400)
        self.assertEqual((await self.make({"name": "x"}, key="a" * 201))[0], 400)

    async def test_what_was_refused_may_be_tried_again(self) -> None:
        """A key is kept for what was done, not for what was not."""
        self.assertEqual((await self.make({"name": "ci", "team_id": "none"}))[0], 404)
        self.assertEqual((await self.make({"name": "ci"}))[0], 201)

    async def test_what_nobody_knows_is_not_done_twice(self) -> None:
        """After a time-out of the database the key stays taken until it expires."""

        async def timed_out(*_: Any) -> None:
            raise StoreTimeout

        self.store.change = timed_out
        self.assertEqual((await self.make({"name": "ci"}))[0], 503)
        del self.store.change
        status, _, reply = await self.make({"name": "ci"})
        self.assertEqual((status, reply["error"]["code"]), (409, "idempotency_key_in_use"))
        object.__setattr__(self.world, "wall_ms", lambda: NOW + once.LIFETIME_MS)
        self.assertEqual((await self.make({"name": "ci"}))[0], 201)

    async def test_a_client_that_leaves_finds_its_answer(self) -> None:
        """What was begun is carried through, and kept, when nobody waits for it any more."""
        (route,) = (route for route in ROUTES if route.name == "create_key")
        asked = Request(body=lambda: {"name": "ci"}, key="gone")
        left = Deferred.fromCoroutine(perform(route, self.context, OPERATOR, asked))
        left.cancel()
        with self.assertRaises(CancelledError):
            await left
        while len(await self.store.list_keys()) < 8:
            pass
        while True:
            try:
                answer = await perform(route, self.context, OPERATOR, asked)
                break
            except Exception as error:
                self.assertEqual(getattr(error, "code", ""), "idempotency_key_in_use")
        self.assertTrue(answer.again)
        self.assertEqual(len(await self.store.list_keys()), 8)


class Pages(AdminCase):
    async def test_sorted_searched_and_filtered(self) -> None:
        """Cursors go through a list in its order, of what was asked for only."""
        for name in ("beta", "Größe 1", "alpha"):
            await self.call("POST", "/api/v1/keys", {"name": name, "user_id": self.admin.email})
        found: list[str] = []
        query = f"sort=-name&limit=2&user_id={self.admin.id}"
        cursor = ""
        while True:
            status, _, page = await self.call("GET", f"/api/v1/keys?{query}{cursor}")
            self.assertEqual(status, 200)
            found += [key["name"] for key in page["data"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        self.assertNotIn("next_cursor", page)
        self.assertEqual(found, sorted(found, reverse=True))
        self.assertEqual(len(found), 5)
        for more, expected in (
            (f"q={quote('größe')}", ["Größe 1"]),
            ("q=ALPHA", ["alpha"]),
            ("q=100%25", []),
            ("key_type=sa_key", []),
        ):
            _, _, page = await self.call("GET", f"/api/v1/keys?{more}")
            self.assertEqual([key["name"] for key in page["data"]], expected, more)

    async def test_names_beside_ids(self) -> None:
        """What a list is asked to expand has its name in each row, and nothing else has."""
        body = {"name": "billing", "key_type": "sa_key", "org_id": self.org.id}
        await self.call("POST", "/api/v1/keys", body)
        _, _, page = await self.call("GET", "/api/v1/keys?expand=org,user,service_account")
        rows = {row["name"]: row for row in page["data"]}
        first, last = rows["billing"], rows["system"]
        self.assertEqual(first["org"], {"id": self.org.id, "name": "Org", "slug": self.org.slug})
        self.assertEqual((first["user"], first["service_account"]["name"]), (None, "billing"))
        self.assertEqual(last["user"]["email"], self.admin.email)
        self.assertNotIn("team", first)
        _, _, page = await self.call("GET", "/api/v1/keys?expand=org,user&limit=1")
        self.assertNotIn("service_account", page["data"][0])
        status, _, reply = await self.call("GET", "/api/v1/keys?expand=org,secret")
        self.assertEqual((status, reply["error"]["param"]), (400, "expand"))

    async def test_cursors_that_no_page_gave(self) -> None:
        """Anything else than a cursor of the same list is a 400 that names it."""
        _, _, page = await self.call("GET", "/api/v1/keys?limit=1")

        def of(value: Any) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        for query in (
            "cursor=x",
            "cursor=",
            "cursor=%00",
            "cursor=gr%C3%B6%C3%9Fe",
            f"cursor={of({})}",
            f"cursor={of(['created_at', 1, 2])}",
            f"cursor={of(['created_at', '', chr(0)])}",
            f"cursor={of('[' * 900)}",
            f"sort=name&cursor={page['next_cursor']}",
        ):
            status, _, reply = await self.call("GET", f"/api/v1/keys?{query}")
            self.assertEqual((status, reply["error"]["param"]), (400, "cursor"), query)
        self.assertEqual((await self.call("GET", "/api/v1/keys?limit=101"))[2]["error"]["param"], "limit")

    async def test_a_cursor_opens_no_other_organisation(self) -> None:
        """Whoever made a cursor, a caller sees their own keys."""
        _, _, page = await self.call("GET", "/api/v1/keys?limit=1")
        _, _, theirs = await self.call("GET", f"/api/v1/keys?cursor={page['next_cursor']}", who="other_boss")
        self.assertLessEqual({key["org_id"] for key in theirs["data"]}, {self.other.id})

    async def test_times_are_rfc_3339_in_utc(self) -> None:
        """Each moment that is shown ends in Z."""
        _, _, page = await self.call("GET", "/api/v1/keys")
        self.assertEqual({key["created_at"] for key in page["data"]}, {show(NOW)})


#: What breaks out of quotes, patterns, templates and lines, or looks like something else.
_NASTY = (
    "' OR 1=1 --",
    'x"; DROP TABLE api_keys; --',
    "%' ESCAPE '!",
    "?%s%(x)s$1{{7*7}}${x}",
    "\\u0027 \\",
    "\u0430dmin",
    "\U0001f600" * 100,
    "\u202eabc",
    "a\u200bb",
    "a\0b",
    "a\nb",
    "a\n",
    "\ud800",
    "x" * 201,
)


class BadInput(AdminCase):
    async def test_texts_are_texts(self) -> None:
        """Whatever a text holds, it is kept as it is or refused by name, in bodies, queries and paths."""
        mine = f"/api/v1/keys/{self.ids['worker']}"
        for text in _NASTY:
            status, _, reply = await self.call("PATCH", mine, {"name": text})
            if status == 200:
                self.assertEqual(reply["name"], text)
                self.assertEqual((await self.store.get_key(self.ids["worker"])).name, text)
            else:
                self.assertEqual((status, reply["error"]["code"]), (400, "bad_request"), ascii(text))
                self.assertIn(reply["error"]["param"], ("name", None))
            for name in ("org_id", "team_id", "user_id", "service_account_id"):
                body = {
                    "name": "x",
                    "key_type": "sa_key" if name == "service_account_id" else "user_key",
                    name: text,
                }
                status, _, reply = await self.call("POST", "/api/v1/keys", body)
                # A service account that is not there is made.
                self.assertIn(status, (201, 400) if name == "service_account_id" else (400, 404))
            sent = quote(text.encode("utf-8", "surrogatepass"))
            for query in ("q", "org_id", "team_id", "user_id", "cursor", "sort", sent):
                status, _, page = await self.call("GET", f"/api/v1/keys?{query}={sent}")
                self.assertIn(status, (200, 400, 404), ascii(text))
                if status == 200:
                    self.assertEqual([key["name"] for key in page["data"]], [text] if query == "q" else [])
            for path in (f"/api/v1/keys/{sent.replace('/', '')}", f"{mine}/{sent}"):
                self.assertEqual((await self.call("GET", path))[0], 404, ascii(text))
        self.assertEqual(len(await self.store.list_keys(KeyFilter(user_id=self.admin.id))), 2)


class BadInputOnPostgres(OnPostgres, BadInput):
    """The same on PostgreSQL."""


class MergePatchesOnPostgres(OnPostgres, MergePatches):
    """The same on PostgreSQL."""


class EntityTagsOnPostgres(OnPostgres, EntityTags):
    """The same on PostgreSQL."""


class RepeatedRequestsOnPostgres(OnPostgres, RepeatedRequests):
    """The same on PostgreSQL."""


class PagesOnPostgres(OnPostgres, Pages):
    """The same on PostgreSQL."""
