"""Access lists and aliases; what is refused leaves everything as it was."""

from __future__ import annotations

from typing import Any

from tests.admin.support import NOW, OnPostgres
from tests.admin.tenants import TenantCase
from voidllm.admin.moments import show


class AccessCase(TenantCase):
    async def _set_up(self) -> None:
        await super()._set_up()
        self.at_org = f"/api/v1/orgs/{self.org.id}"
        self.at_team = f"{self.at_org}/teams/{self.team.id}"

    def principal(self, name: str) -> Any:
        """Give what a snapshot knows of a key."""
        return self.holder.current.keys[self.digester.digest(self.keys[name].encode())]


class Lists(AccessCase):
    async def test_a_list_restricts_who_is_below_it(self) -> None:
        """An organisation's list binds every key there, a team's those of the team."""
        await self.mint("teams", self.org, key_type="team_key", team_id=self.team.id)
        self.assertEqual(await self.done("boss", "GET", f"{self.at_org}/model-access"), {"models": None})
        since = await self.last_audited()
        body = {"models": ["m", "demo"]}
        shown = await self.done("boss", "PUT", f"{self.at_org}/model-access", body)
        self.assertEqual(shown, {"models": ["demo", "m"]})
        await self.done("lead", "PUT", f"{self.at_team}/model-access", {"models": ["demo"]})
        await self.publish()
        for name, allowed in (("worker", {"demo", "m"}), ("teams", {"demo"}), ("other_boss", set("abm"))):
            principal = self.principal(name)
            self.assertEqual(
                {model for model in self.models if principal.may_use(model)} & {*allowed}, allowed
            )
        self.assertFalse(self.principal("worker").may_use("a"))
        self.assertFalse(self.principal("teams").may_use("m"))
        entries = await self.audited(since)
        self.assertEqual(
            [(one[:3], one[4]) for one in entries],
            [
                (("update", "model_access", self.org.id), {"models": [None, ["demo", "m"]]}),
                (("update", "model_access", self.team.id), {"models": [None, ["demo"]]}),
            ],
        )
        await self.done("boss", "PUT", f"{self.at_org}/model-access", {"models": []})
        await self.publish()
        self.assertFalse(self.principal("worker").may_use("demo"))

    async def test_a_team_gets_what_its_organisation_may_use(self) -> None:
        """Names are of models, switched off or not, and in the organisation's list if there is one."""
        at = f"{self.at_team}/model-access"
        await self.done("boss", "PUT", at, {"models": ["a", "b"]})
        await self.done("boss", "PUT", f"{self.at_org}/model-access", {"models": ["demo", "a"]})
        # What the team has beyond it is bound all the same, and is not taken over anew.
        await self.refused("boss", "PUT", at, {"models": ["a", "b"]}, 400, "models[1]")
        await self.done("lead", "PUT", at, {"models": None})
        for name in ("nothing", "everywhere", "DEMO"):
            await self.refused("lead", "PUT", at, {"models": ["demo", name]}, 400, "models[1]")
            await self.refused(
                "boss", "PUT", f"{self.at_org}/model-access", {"models": ["demo", name]}, 400, "models[1]"
            )
        await self.refused("boss", "PUT", at, {}, 400, "models")
        await self.execute("INSERT INTO models VALUES ('i', 'idle', 'chat', '{}', 0, 0, '', 0, 0, 1, 1, 1)")
        await self.execute("INSERT INTO model_names VALUES ('idle', 'i', 0), ('lazy', 'i', 1)")
        await self.done("boss", "PUT", f"{self.at_org}/model-access", {"models": ["idle"]})
        await self.refused(
            "boss", "PUT", f"{self.at_org}/model-access", {"models": ["lazy"]}, 400, "models[0]"
        )

    async def test_who_may(self) -> None:
        """The organisation's is its administrators', a team's is who leads it."""
        for who, path, status in (
            ("worker", self.at_org, 403),
            ("lead", self.at_org, 403),
            ("other_boss", self.at_org, 404),
            ("mate", self.at_team, 403),
            ("worker", self.at_team, 404),
            ("other_boss", self.at_team, 404),
        ):
            await self.refused(who, "PUT", f"{path}/model-access", {"models": []}, status)
            self.assertEqual((await self.call("GET", f"{path}/model-access", who=who))[0], status)

    async def test_what_was_seen_is_what_is_changed(self) -> None:
        """An entity tag of a list that somebody else has changed is a 412."""
        for path in (self.at_org, self.at_team):
            _, headers, _ = await self.call("GET", f"{path}/model-access")
            tag = {"if-match": headers["etag"]}
            await self.done("boss", "PUT", f"{path}/model-access", {"models": ["demo"]}, **tag)
            await self.refused("boss", "PUT", f"{path}/model-access", {"models": ["m"]}, 412, **tag)


class Aliases(AccessCase):
    async def test_they_are_made_listed_and_taken_away(self) -> None:
        """An alias stands for a model where it was made, and says who made it."""
        since = await self.last_audited()
        for path, who, scope in ((self.at_org, "boss", "org"), (self.at_team, "lead", "team")):
            body = {"alias": "smart", "model_name": "everywhere"}
            made = await self.done(who, "POST", f"{path}/model-aliases", body, 201)
            self.assertEqual((made["id"], made["model_name"], made["scope_type"]), ("smart", "demo", scope))
            self.assertEqual(made["team_id"], self.team.id if scope == "team" else None)
            self.assertEqual((made["created_by"], made["created_at"]), (self.users[who], show(NOW)))
        await self.publish()
        self.assertEqual(self.holder.current.resolve("smart", self.principal("worker")).name, "demo")
        self.assertIsNone(self.holder.current.resolve("smart", self.principal("other_boss")))
        page = await self.done("mate", "GET", f"{self.at_team}/model-aliases?q=SMA&model_name=demo")
        self.assertEqual([one["alias"] for one in page["data"]], ["smart"])
        status, _, _ = await self.call("DELETE", f"{self.at_team}/model-aliases/smart", who="lead")
        self.assertEqual(status, 204)
        self.assertEqual((await self.done("mate", "GET", f"{self.at_team}/model-aliases"))["data"], [])
        self.assertEqual(len((await self.done("mate", "GET", f"{self.at_org}/model-aliases"))["data"]), 1)
        self.assertEqual((await self.call("DELETE", f"{self.at_team}/model-aliases/smart"))[0], 404)
        entries = await self.audited(since)
        self.assertEqual(
            [(one[0], one[1], one[4]) for one in entries],
            [
                ("create", "model_alias", {"smart": [None, "demo"]}),
                ("create", "model_alias", {"smart": [None, "demo"]}),
                ("delete", "model_alias", {"smart": ["demo", None]}),
            ],
        )

    async def test_what_is_no_alias(self) -> None:
        """The name of a model, an alias that everybody has, what is there already, odd characters."""
        at = f"{self.at_team}/model-aliases"
        await self.done("lead", "POST", at, {"alias": "taken", "model_name": "m"}, 201)
        await self.done("boss", "PUT", f"{self.at_org}/model-access", {"models": ["demo", "m"]})
        await self.done("boss", "PUT", f"{self.at_team}/model-access", {"models": ["m"]})
        for alias, model, status, param in (
            ("demo", "m", 409, "alias"),
            ("everywhere", "m", 409, "alias"),
            ("taken", "m", 409, "alias"),
            ("x", "nothing", 400, "model_name"),
            ("x", "taken", 400, "model_name"),
            ("x", "a", 400, "model_name"),
            ("x", "demo", 400, "model_name"),
            ("", "m", 400, "alias"),
            ("-x", "m", 400, "alias"),
            ("a/b", "m", 400, "alias"),
            ("sm\u0430rt", "m", 400, "alias"),
            ("x\n", "m", 400, "alias"),
            ("x" * 65, "m", 400, "alias"),
        ):
            body = {"alias": alias, "model_name": model}
            await self.refused("lead", "POST", at, body, status, param)
            if alias != "taken":
                rows = {"aliases": [{"alias": "fine", "model_name": "m"}, body]}
                await self.refused("lead", "PUT", at, rows, status, f"aliases[1].{param}")
        twice = {"aliases": [{"alias": "x", "model_name": "m"}] * 2}
        await self.refused("lead", "PUT", at, twice, 400, "aliases[1].alias")

    async def test_all_are_replaced(self) -> None:
        """Those that stay keep who made them; the others come and go."""
        at = f"{self.at_org}/model-aliases"
        await self.done("boss", "POST", at, {"alias": "stays", "model_name": "m"}, 201)
        await self.done("boss", "POST", at, {"alias": "goes", "model_name": "m"}, 201)
        since = await self.last_audited()
        rows = [{"alias": "stays", "model_name": "m"}, {"alias": "comes", "model_name": "a"}]
        shown = await self.done("system", "PUT", at, {"aliases": rows})
        self.assertEqual(
            [(one["alias"], one["created_by"]) for one in shown["data"]],
            [("comes", self.admin.id), ("stays", self.users["boss"])],
        )
        (entry,) = await self.audited(since)
        self.assertEqual(entry[4], {"goes": ["m", None], "comes": [None, "a"]})
        page = await self.done("boss", "GET", f"{at}?sort=-alias&limit=1")
        self.assertEqual((page["data"][0]["alias"], page["has_more"]), ("stays", True))
        page = await self.done("boss", "GET", f"{at}?sort=-alias&limit=1&cursor={page['next_cursor']}")
        self.assertEqual((page["data"][0]["alias"], page["has_more"]), ("comes", False))

    async def test_who_may(self) -> None:
        """Members read, administrators and who leads the team write."""
        body = {"alias": "x", "model_name": "m"}
        for who, path, status in (
            ("worker", self.at_org, 403),
            ("lead", self.at_org, 403),
            ("other_boss", self.at_org, 404),
            ("mate", self.at_team, 403),
            ("worker", self.at_team, 404),
            ("other_boss", self.at_team, 404),
        ):
            await self.refused(who, "POST", f"{path}/model-aliases", body, status)
            await self.refused(who, "PUT", f"{path}/model-aliases", {"aliases": [body]}, status)
            await self.refused(who, "DELETE", f"{path}/model-aliases/x", None, status)


class ListsOnPostgres(OnPostgres, Lists):
    """The same on PostgreSQL."""


class AliasesOnPostgres(OnPostgres, Aliases):
    """The same on PostgreSQL."""
