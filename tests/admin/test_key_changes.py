"""Keys made to allow less or more, rotated, and revoked one by one or together."""

from __future__ import annotations

from typing import Any
from unittest import mock

from attrs import evolve

from tests.admin.support import NOW, OnPostgres
from tests.admin.test_key_owners import KeysCase
from tests.store.support import user
from voidllm.admin.moments import show
from voidllm.core.principal import Limits
from voidllm.http.clientaddr import TrustedProxies
from voidllm.store.records import KeyFilter

_DAY = 86_400_000


class LessOrMore(KeysCase):
    async def mine(self, **more: Any) -> None:
        """Give ``worker`` a key called ``mine``."""
        await self.mint("mine", self.org, user_id=self.users["worker"], **more)

    async def test_owners_lower_limits_and_administrators_raise_them(self) -> None:
        """A limit of one's own goes down only; above it somebody may raise it or take it away."""
        await self.mine(limits=Limits(requests_per_minute=10))
        mine, field = self.one("mine"), "requests_per_minute"
        await self.done("worker", "PATCH", mine, {field: 5, "daily_token_limit": 100})
        for value in (6, 0, None):
            await self.refused("worker", "PATCH", mine, {field: value}, 403, field)
        await self.refused("worker", "PATCH", mine, {"daily_token_limit": 101}, 403, "daily_token_limit")
        shown = await self.done("boss", "PATCH", mine, {field: 20, "daily_token_limit": None})
        self.assertEqual((shown[field], shown["daily_token_limit"]), (20, 0))
        stored = await self.store.get_key(self.ids["mine"])
        self.assertEqual(stored.limits, Limits(requests_per_minute=20))

    async def test_no_limit_is_beyond_those_above(self) -> None:
        """Neither a new key nor a changed one has more than its team, organisation or installation."""
        await self.store.set_limits("team", self.team.id, Limits(requests_per_minute=5))
        await self.store.set_limits("org", self.org.id, Limits(requests_per_minute=10, tokens_per_day=7))
        await self.store.set_limits("system", "", Limits(tokens_per_month=9))
        for more, field, most in (
            ({"team_id": self.team.id}, "requests_per_minute", 5),
            ({}, "requests_per_minute", 10),
            ({}, "daily_token_limit", 7),
            ({}, "monthly_token_limit", 9),
        ):
            body = {"name": "x", **more, field: most + 1}
            await self.refused("boss", "POST", self.path, body, 400, field)
            made = await self.done("boss", "POST", self.path, {**body, field: most}, 201)
            await self.refused("boss", "PATCH", f"{self.path}/{made['id']}", {field: most + 1}, 400, field)
            # No limit of its own leaves it to those above.
            await self.done("boss", "PATCH", f"{self.path}/{made['id']}", {field: None})

    async def test_a_parent_that_is_lowered_keeps_nobody_from_other_changes(self) -> None:
        """A key whose limit is now beyond its organisation's can be renamed, and is bound all the same."""
        await self.mine(limits=Limits(requests_per_minute=10))
        await self.store.set_limits("org", self.org.id, Limits(requests_per_minute=3))
        await self.done("worker", "PATCH", self.one("mine"), {"name": "renamed"})
        limits = await self.done("worker", "GET", self.one("mine", "/limits"))
        self.assertEqual(limits["limits"]["requests_per_minute"], 10)
        self.assertEqual(limits["effective"]["requests_per_minute"], 3)
        await self.refused(
            "worker", "PATCH", self.one("mine"), {"requests_per_minute": 4}, 400, "requests_per_minute"
        )

    async def test_owners_shorten_a_life_and_do_not_lengthen_it(self) -> None:
        """An earlier end is one's own decision, a later one or none somebody's above."""
        await self.mine(expires_at_ms=NOW + 10 * _DAY)
        mine = self.one("mine")
        await self.done("worker", "PATCH", mine, {"expires_at": show(NOW + 5 * _DAY)})
        for later in (show(NOW + 6 * _DAY), None):
            await self.refused("worker", "PATCH", mine, {"expires_at": later}, 403, "expires_at")
        await self.done("boss", "PATCH", mine, {"expires_at": show(NOW + 20 * _DAY)})
        self.assertIsNone((await self.done("boss", "PATCH", mine, {"expires_at": None}))["expires_at"])

    async def test_owners_take_models_away_and_add_none(self) -> None:
        """A list gets shorter by its owner, longer by somebody above; names must be of models."""
        await self.mine(models=frozenset({"demo", "m"}))
        for path, body in (
            (self.one("mine"), {"models": ["demo", "a"]}),
            (self.one("mine"), {"models": None}),
            (self.one("mine", "/model-access"), {"models": ["demo", "m", "a"]}),
            (self.one("mine", "/model-access"), {"models": None}),
        ):
            method = "PUT" if path.endswith("access") else "PATCH"
            await self.refused("worker", method, path, body, 403, "models")
        for path, method in ((self.one("mine"), "PATCH"), (self.one("mine", "/model-access"), "PUT")):
            for name in ("nothing", "everywhere"):
                await self.refused("boss", method, path, {"models": ["demo", name]}, 400, "models[1]")
        await self.refused("boss", "POST", self.path, {"name": "x", "models": ["nothing"]}, 400, "models[0]")
        body = {"models": ["demo"]}
        self.assertEqual(await self.done("worker", "PUT", self.one("mine", "/model-access"), body), body)
        self.assertEqual((await self.store.get_key(self.ids["mine"])).models, frozenset({"demo"}))
        await self.done("boss", "PUT", self.one("mine", "/model-access"), {"models": None})
        self.assertIsNone((await self.store.get_key(self.ids["mine"])).models)

    async def test_owners_confine_a_key_and_do_not_let_it_go(self) -> None:
        """Networks get narrower by the owner; what is none is named."""
        await self.mine()
        mine, field = self.one("mine"), "allowed_addresses"
        shown = await self.done(
            "worker", "PATCH", mine, {field: ["10.0.0.0/8", "10.0.0.0/8", "2001:DB8::/32"]}
        )
        self.assertEqual(shown[field], ["10.0.0.0/8", "2001:db8::/32"])
        for wider in (["10.0.0.0/7"], ["10.1.0.0/16", "11.0.0.0/8"], [], None):
            await self.refused("worker", "PATCH", mine, {field: wider}, 403, field)
        await self.done("worker", "PATCH", mine, {field: ["10.1.0.0/16", "10.2.0.1"]})
        for wrong in ("10.0.0.1/8", "everywhere", "10.0.0.0/8 ", "::1%eth0"):
            await self.refused("boss", "PATCH", mine, {field: ["10.0.0.0/8", wrong]}, 400, f"{field}[1]")
        await self.refused("boss", "PATCH", mine, {field: ["10.0.0.0/8"] * 65}, 400, field)
        await self.publish()
        principal = self.holder.current.keys[self.digester.digest(self.keys["mine"].encode())]
        self.assertEqual(principal.networks, ("10.1.0.0/16", "10.2.0.1/32"))
        self.assertIsNone((await self.done("boss", "PATCH", mine, {field: None}))[field])

    async def test_tags_are_short_and_plain(self) -> None:
        """They are replaced as a whole; what does not fit is refused."""
        mine = self.one("worker")
        await self.done("worker", "PATCH", mine, {"tags": {"cost-center": "r_d.1"}})
        self.assertEqual((await self.store.get_key(self.ids["worker"])).tags, {"cost-center": "r_d.1"})
        for wrong in ({"A": "b"}, {"a": "B"}, {"": "a"}, {"a": ""}, {"a": "x" * 65}, {"a\n": "b"}, {"a": 1}):
            status, _, reply = await self.call("PATCH", mine, {"tags": wrong}, "worker")
            self.assertEqual(status, 400, wrong)
            self.assertTrue((reply["error"]["param"] or "").startswith("tags"), (wrong, reply))
        await self.refused(
            "worker", "PATCH", mine, {"tags": {f"t{number}": "x" for number in range(17)}}, 400, "tags"
        )
        self.assertEqual((await self.store.get_key(self.ids["worker"])).tags, {"cost-center": "r_d.1"})

    async def test_what_was_seen_is_what_is_changed(self) -> None:
        """Each change of a key, its limits and its models makes another entity tag; its use does not."""
        mine = self.one("worker")
        tags = []

        async def tag() -> str:
            found: str = (await self.call("GET", mine, who="worker"))[1]["etag"]
            return found

        tags.append(await tag())
        await self.execute("INSERT INTO key_last_used VALUES (?, ?)", self.ids["worker"], NOW)
        self.assertEqual((await self.done("worker", "GET", mine))["last_used_at"], show(NOW))
        self.assertEqual(await tag(), tags[0])
        revision = (await self.store.get_key(self.ids["worker"])).revision
        await self.store.set_limits("key", self.ids["worker"], Limits(requests_per_day=9))
        tags.append(await tag())
        await self.store.set_access("key", self.ids["worker"], {"demo"})
        tags.append(await tag())
        self.assertEqual(len(set(tags)), 3)
        self.assertEqual((await self.store.get_key(self.ids["worker"])).revision, revision + 2)
        for method, more, body in (
            ("PATCH", "", {"name": "x"}),
            ("DELETE", "", None),
            ("POST", "/rotate", {}),
            ("PUT", "/model-access", {"models": []}),
        ):
            path = self.one("worker", more)
            await self.refused("system", method, path, body, 412, **{"if-match": tags[1]})
        await self.done("worker", "PATCH", mine, {"name": "x"}, **{"if-match": tags[2]})

    async def test_a_change_is_on_record_with_what_differs(self) -> None:
        """The entry says what was and what is."""
        since = await self.last_audited()
        await self.done("worker", "PATCH", self.one("worker"), {"name": "x", "tags": {"a": "b"}})
        (entry,) = await self.audited(since)
        self.assertEqual(entry[:3], ("update", "key", self.ids["worker"]))
        self.assertEqual(entry[4], {"name": ["worker", "x"], "tags": [{}, {"a": "b"}]})


class Rotating(KeysCase):
    async def test_the_new_key_is_what_the_old_one_was(self) -> None:
        """Networks, tags, models, limits, scopes and owner go over; the old one ends with the grace time."""
        facts: dict[str, Any] = {
            "user_id": self.users["worker"],
            "models": frozenset({"demo"}),
            "limits": Limits(tokens_per_day=5),
            "addresses": ("10.0.0.0/8",),
            "tags": {"a": "b"},
            "scopes": frozenset({"inference"}),
            "expires_at_ms": NOW + _DAY,
        }
        await self.mint("mine", self.org, **facts)
        since = await self.last_audited()
        rotated = await self.done("boss", "POST", self.one("mine", "/rotate"), {"grace": "1h"})
        new: Any = await self.store.get_key(rotated["new_key"]["id"])
        for name, value in facts.items():
            self.assertEqual(getattr(new, name), value, name)
        self.assertEqual(new.created_by, self.users["boss"])
        old: Any = await self.store.get_key(self.ids["mine"])
        self.assertEqual((old.expires_at_ms, old.revoked_at_ms), (NOW + 3_600_000, None))
        entries = await self.audited(since)
        self.assertEqual([(one[0], one[2]) for one in entries], [("rotate", old.id), ("create", new.id)])
        self.assertEqual(entries[0][4]["successor"], [None, new.id])
        self.assertNotIn(rotated["new_key"]["key"], repr(entries))

    async def test_the_grace_time_is_bounded(self) -> None:
        """None ends the old key now; more than 30 days are refused."""
        for grace in ("30d1s", "1000d"):
            await self.refused(
                "worker", "POST", self.one("worker", "/rotate"), {"grace": grace}, 400, "grace"
            )
        await self.done("worker", "POST", self.one("worker", "/rotate"), {"grace": "0s"})
        self.assertEqual((await self.store.get_key(self.ids["worker"])).expires_at_ms, NOW)
        await self.refused("boss", "POST", self.one("worker", "/rotate"), {}, 403, "scopes")

    async def test_only_a_living_key_is_rotated(self) -> None:
        """A revoked or expired one is a conflict."""
        await self.mint("old", self.org, user_id=self.users["worker"], expires_at_ms=NOW + 1)
        await self.store.revoke_key(self.ids["mate"], NOW)
        object.__setattr__(self.world, "wall_ms", lambda: NOW + 1)
        for name in ("old", "mate"):
            await self.refused("system", "POST", self.one(name, "/rotate"), {}, 409)

    async def test_a_repeated_request_does_not_show_the_key_again(self) -> None:
        """The plaintext is in the first answer only, and there is one new key."""
        path, before = self.one("worker", "/rotate"), len(await self.store.list_keys())
        first = await self.done("worker", "POST", path, {}, **{"idempotency-key": "k"})
        again = await self.done("worker", "POST", path, {}, **{"idempotency-key": "k"})
        self.assertIn("key", first["new_key"])
        self.assertNotIn("key", again["new_key"])
        self.assertEqual(len(await self.store.list_keys()), before + 1)


class Many(KeysCase):
    async def test_nobody_has_too_many(self) -> None:
        """One more than everybody may have is a conflict, and is not made; one less gives room again."""
        with mock.patch("voidllm.store.key_changes.MOST_PER_BEARER", 2):
            _, _, made = await self.call("POST", self.path, {"name": "a", "key_type": "user_key"}, "worker")
            await self.refused("worker", "POST", self.path, {"name": "b", "key_type": "user_key"}, 409)
            await self.done("worker", "DELETE", f"{self.path}/{made['id']}")
            status, _, _ = await self.call("POST", self.path, {"name": "c", "key_type": "user_key"}, "worker")
            self.assertEqual(status, 201)


class Together(KeysCase):
    async def _set_up(self) -> None:
        await super()._set_up()
        self.sweep = f"{self.path}/bulk-revoke"
        for name in ("ci-1", "ci-2", "ci_3"):
            await self.mint(name, self.org, user_id=self.users["worker"])
        await self.mint("ci-team", self.org, key_type="team_key", team_id=self.team.id)

    async def swept(self, who: str, body: Any) -> list[str]:
        """Give the names of the keys that were revoked, or would be."""
        reply = await self.done(who, "POST", self.sweep, body)
        return sorted(key["name"] for key in reply["data"])

    async def test_those_that_are_named(self) -> None:
        """All of them in one change, each on record; revoked ones are passed over."""
        await self.store.revoke_key(self.ids["ci_3"], NOW)
        ids = [self.ids[name] for name in ("ci-1", "ci_3", "ci-2", "ci-1")]
        before, since = await self.store.change_version(), await self.last_audited()
        self.assertEqual(await self.swept("boss", {"ids": ids, "dry_run": True}), ["ci-1", "ci-2"])
        self.assertEqual(await self.store.change_version(), before)
        self.assertEqual(await self.swept("boss", {"ids": ids}), ["ci-1", "ci-2"])
        self.assertEqual(await self.store.change_version(), before + 1)
        entries = await self.audited(since)
        self.assertEqual((entries[0][0], entries[0][2]), ("bulk_revoke", None))
        self.assertEqual(
            {(one[0], one[2]) for one in entries[1:]},
            {("revoke", self.ids["ci-1"]), ("revoke", self.ids["ci-2"])},
        )
        self.assertEqual(await self.live_keys("ci-1", "ci-2", "worker"), ["worker"])
        self.assertEqual(await self.swept("boss", {"ids": ids}), [])
        self.assertEqual(await self.store.change_version(), before + 1)

    async def test_one_that_is_not_to_be_had_keeps_all(self) -> None:
        """A key of somebody above, of another organisation or of nobody: none is revoked."""
        mine = self.ids["ci-1"]
        for who, other, status, param in (
            ("boss", self.ids["system"], 403, None),
            ("boss", self.ids["other_boss"], 404, "ids[1]"),
            ("boss", "nothing", 404, "ids[1]"),
            ("worker", self.ids["mate"], 404, "ids[1]"),
            ("worker", self.ids["ci-team"], 404, "ids[1]"),
        ):
            await self.refused(who, "POST", self.sweep, {"ids": [mine, other]}, status, param)
        await self.refused("other_boss", "POST", self.sweep, {"ids": [mine]}, 404)

    async def test_those_that_fit(self) -> None:
        """By person, team, beginning of the name; what somebody may not revoke is left alone."""
        worker = self.users["worker"]
        for who, body, expected in (
            ("boss", {"user_id": worker, "name_prefix": "ci-"}, ["ci-1", "ci-2"]),
            ("boss", {"name_prefix": "ci_"}, ["ci_3"]),
            ("boss", {"name_prefix": "CI"}, []),
            ("boss", {"name_prefix": "%"}, []),
            ("boss", {"team_id": "team"}, ["ci-team"]),
            ("lead", {"team_id": self.team.id}, ["ci-team"]),
            ("mate", {"team_id": self.team.id}, []),
            ("worker", {"name_prefix": "ci"}, ["ci-1", "ci-2", "ci_3"]),
            ("boss", {"user_id": self.admin.id}, []),
            ("worker", {"user_id": self.users["mate"]}, []),
        ):
            self.assertEqual(await self.swept(who, {**body, "dry_run": True}), expected, (who, body))
        self.assertEqual(await self.swept("worker", {"name_prefix": "ci"}), ["ci-1", "ci-2", "ci_3"])
        self.assertEqual(
            await self.live_keys("ci-1", "ci-2", "ci_3", "ci-team", "worker"), ["ci-team", "worker"]
        )

    async def test_those_that_nobody_uses(self) -> None:
        """Neither used nor made in so long a time."""
        old = user()
        await self.store.create_user(old, self.org.id, "member")
        for number, used in ((1, NOW - 91 * _DAY), (2, NOW - 89 * _DAY), (3, None)):
            await self.mint(f"old-{number}", self.org, user_id=old.id)
            await self.execute(
                "UPDATE api_keys SET created_at_ms = ? WHERE id = ?",
                NOW - 200 * _DAY,
                self.ids[f"old-{number}"],
            )
            if used is not None:
                await self.execute("INSERT INTO key_last_used VALUES (?, ?)", self.ids[f"old-{number}"], used)
        self.assertEqual(await self.names("boss", "?unused_since=90d"), ["old-1", "old-3"])
        found: list[str] = []
        cursor = ""
        while True:
            page = await self.done("boss", "GET", f"{self.path}?sort=-last_used_at&limit=3{cursor}")
            found += [key["name"] for key in page["data"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        self.assertEqual(found[:2], ["old-2", "old-1"])
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(len(found), len(await self.store.list_keys(KeyFilter(self.org.id))))
        self.assertEqual(await self.swept("boss", {"unused_since": "90d"}), ["old-1", "old-3"])
        self.assertEqual(await self.live_keys("old-1", "old-2", "old-3", "ci-1"), ["old-2", "ci-1"])

    async def test_it_must_be_said_which(self) -> None:
        """Nothing at all is not everything, and both ways at once are refused."""
        for body in (
            {},
            {"dry_run": True},
            {"ids": [self.ids["ci-1"]], "name_prefix": "ci"},
        ):
            await self.refused("boss", "POST", self.sweep, body, 400, "ids")
        await self.refused("boss", "POST", self.sweep, {"ids": []}, 400, "ids")
        await self.refused("boss", "POST", self.sweep, {"ids": ["x"] * 501}, 400, "ids")


class Addresses(KeysCase):
    """Where a key may be used for administration."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.context = evolve(self.context, trusted=TrustedProxies(["127.0.0.1/32"]))
        await self.mint("inside", self.org, user_id=self.users["worker"], addresses=("10.0.0.0/8",))
        await self.publish()

    async def test_the_clients_address_decides(self) -> None:
        """Behind a proxy that is trusted it is the one that the proxy says."""
        for forwarded, status in (
            (None, 403),
            ("10.1.2.3", 200),
            ("11.1.2.3", 403),
            ("10.1.2.3, 11.0.0.1", 403),
        ):
            headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
            got, _, reply = await self.call("GET", "/api/v1/me/keys", who="inside", **headers)
            self.assertEqual(got, status, forwarded)
            if status == 403:
                self.assertEqual(reply["error"]["code"], "address_not_allowed")


class LessOrMoreOnPostgres(OnPostgres, LessOrMore):
    """The same on PostgreSQL."""


class RotatingOnPostgres(OnPostgres, Rotating):
    """The same on PostgreSQL."""


class TogetherOnPostgres(OnPostgres, Together):
    """The same on PostgreSQL."""
