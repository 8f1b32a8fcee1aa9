"""The commands on a gateway that does not run."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.cli.support import CliCase
from tests.servers import postgres
from tests.store.support import event
from voidllm.admin.limit_shapes import NAMES
from voidllm.cli import client, offline
from voidllm.cli.failures import Unreachable
from voidllm.cli.settings import Settings
from voidllm.config import load_config
from voidllm.store import open_store
from voidllm.store.records import KeyFilter
from voidllm.usage.journal import Journal
from voidllm.usage.settings import UsageSettings


class Keys(CliCase):
    async def test_a_key_is_made_listed_rotated_and_revoked(self) -> None:
        """The life of a key, each step by a command of its own."""
        status, out, err = await self.run_command("keys", "create", "--name", "ci", "--expires", "90d")
        self.assertEqual(status, 0, err)
        self.assertRegex(out, r"\Avl_uk_[0-9a-f]{48}\n\Z")
        self.assertIn("only time", err)
        hint = f"{out[:6]}...{out.strip()[-4:]}"
        listed = await self.ok("keys", "list")
        self.assertIn(hint, listed)
        self.assertNotIn("\x1b", listed)
        self.assertNotIn(out.strip(), listed)
        status, rotated, err = await self.run_command("keys", "rotate", hint, "--grace", "1h", "-q")
        self.assertEqual((status, err), (0, ""))
        (new,) = [
            key for key in await self.rows("keys", "list") if rotated.strip().endswith(key["key_hint"][-4:])
        ]
        self.assertEqual(new["name"], "ci")
        status, _, err = await self.run_command("keys", "rotate", new["id"])
        self.assertIn(f", expires {new['expires_at']}; {new['key_hint']} ends ", err)
        await self.ok("keys", "revoke", new["id"])
        self.assertNotIn(new["id"], [key["id"] for key in await self.rows("keys", "list")])
        self.assertIn(new["id"], [key["id"] for key in await self.rows("keys", "list", "--all")])
        store: Any = open_store(self.world, "sqlite", self.dsn)
        await store.start()
        self.addCleanup(store.stop)
        made = {key.hash: key for key in await store.list_keys(KeyFilter(include_revoked=True))}
        self.assertIn(self.digester.digest(out.strip().encode()).hex(), made)

    async def test_everything_can_be_said_of_a_new_key(self) -> None:
        """Limits, models, scopes and owner arrive in the store."""
        out = await self.ok(
            "keys", "create", "--json", "--type", "sa", "--name", "reports", "--org", "default",
            "--model", "demo", "--model", "other", "--scope", "admin:read", "--requests-per-minute", "1",
            "--requests-per-day", "2", "--tokens-per-minute", "3", "--tokens-per-day", "4",
            "--tokens-per-month", "5",
        )  # fmt: skip
        made = json.loads(out)
        self.assertEqual((made["key_type"], made["key"][:6]), ("sa_key", "vl_sa_"))
        self.assertEqual((made["models"], made["scopes"]), (["demo", "other"], ["admin:read"]))
        limits = [made[name] for name in NAMES]
        self.assertEqual(limits, [1, 2, 3, 4, 5])
        out = await self.ok("keys", "create", "--no-models", "--json")
        self.assertEqual(json.loads(out)["models"], [])

    async def test_mistakes_are_told_without_a_traceback(self) -> None:
        """Each expected mistake has a message and its exit status."""
        for arguments, expected, said in (
            (("keys", "create", "--expires", "soon"), 1, "such as 90d"),
            (("keys", "create", "--org", "nowhere"), 1, "no such org"),
            (("keys", "create", "--type", "team"), 1, "needs a team"),
            (("keys", "create", "--type", "robot"), 2, "robot"),
            (("keys", "create", "--model", "a", "--no-models"), 2, "exclude"),
            (("keys", "revoke", "vl_uk_...none"), 1, "keys list"),
            (("keys", "revoke", "0199c0de-7a1b-7c3d-8e9f-0123456789ab"), 1, "no such thing"),
            (("usage", "--group-by", "weather"), 1, "group_by"),
            (("usage", "--since", "soon"), 1, "since"),
        ):
            status, out, err = await self.run_command(*arguments)
            self.assertEqual((status, out), (expected, ""), err)
            self.assertIn(said, err)
            self.assertNotIn("Traceback", err)


class Usage(CliCase):
    async def test_what_is_only_in_the_journal_is_reported(self) -> None:
        """A report on a stopped gateway has the rows that no batcher has committed yet."""
        now = self.world.wall_ms()
        refused = event(started_ms=now, status=429, model="", deployment="", error_code="x")
        costs = (1_500_000_000, 3_250_000)
        await write_journal(self, *(event(started_ms=now, cost_nano=cost) for cost in costs), refused)
        for _ in range(2):
            rows = await self.rows("usage")
            self.assertEqual(
                [(row["model"], row["status"], row["total_requests"]) for row in rows],
                [("demo", "200", 2), ("", "429", 1)],
            )
            self.assertEqual((rows[0]["cost_nano"], rows[0]["cost"]), (1_503_250_000, "1.50325"))
        (total,) = await self.rows("usage", "--group-by", "")
        self.assertEqual(total["total_requests"], 3)
        self.assertNotIn("model", total)
        table = await self.ok("usage")
        self.assertIn("total: 3 requests", table)
        self.assertIn("1.503250 USD", table)

    async def test_nothing_used_is_an_empty_report(self) -> None:
        """No rows are no error."""
        self.assertEqual(await self.rows("usage"), [])
        self.assertIn("total: 0 requests", await self.ok("usage"))


class NotUsable(CliCase):
    async def test_no_store_yet(self) -> None:
        """Without a store the command says how to get one, and makes none."""
        os.unlink(self.dsn)
        status, _, err = await self.run_command("keys", "list")
        self.assertEqual(status, 3)
        self.assertIn("voidllm serve", err)
        self.assertFalse(os.path.exists(self.dsn))

    def _config(self) -> Any:
        self.patch(client, "PATIENCE_S", 0.05)
        return load_config(str(self.config), {}, str(self.state_dir))

    async def test_a_store_in_use_by_a_gateway_that_does_not_answer(self) -> None:
        """A held lock and no control socket is an error that says so."""
        first: Any = open_store(self.world, "sqlite", self.dsn)
        await first.start()
        self.addCleanup(first.stop)
        second = open_store(self.world, "sqlite", self.dsn)
        with self.assertRaises(Unreachable) as caught:
            await offline._on_store(self.world, second, self._config(), lambda _: self.fail())
        self.assertIn("nobody answers", str(caught.exception))

    def test_a_gateway_on_a_shared_database_that_does_not_answer(self) -> None:
        """The lock that it holds in its state folder is enough to leave the store alone."""
        text = self.config.read_text().replace("driver: sqlite", "driver: postgres")
        self.config.write_text(text.replace(self.dsn, "postgresql://127.0.0.1:1/x"))
        with open(self.state_dir / "control.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.assertRaises(Unreachable) as caught:
                self.patch(client, "PATIENCE_S", 0.05)
                client.perform(Settings(str(self.config)), lambda _: self.fail())
        self.assertIn("nobody answers", str(caught.exception))

    async def test_variables_that_only_the_gateway_knows(self) -> None:
        """What the commands do not need may be missing here; what they need is named."""
        text = self.config.read_text()
        provider = (
            "\n- {name: real, provider: openai, base_url: 'http://127.0.0.1:1/v1', api_key: '${NOT_SET}'}"
        )
        self.config.write_text(text.replace("models:", f"models:{provider}"))
        self.assertIn("first key", await self.ok("keys", "list"))
        self.config.write_text(text.replace(self.dsn, "${NOT_SET}"))
        status, _, err = await self.run_command("keys", "list")
        self.assertEqual(status, 1)
        self.assertIn("database.dsn: needs the environment variable NOT_SET", err)

    async def test_commands_wait_for_each_other(self) -> None:
        """Two at the same time both get through: the store is one process's at a time."""
        both = [self.run_command("keys", "create", "-q", "--name", name) for name in ("a", "b")]
        done = await gatherResults([Deferred.fromCoroutine(each) for each in both])
        self.assertEqual([status for status, _, _ in done], [0, 0], done)

    async def test_a_gateway_that_turns_the_user_away(self) -> None:
        """A connection that is dropped unheard is explained, and never taken over TCP instead."""
        with socket.socket(socket.AF_UNIX) as rude:
            rude.bind(str(self.state_dir / "control.sock"))
            rude.listen()
            rude.settimeout(30)
            turned_away = deferToThread(_hang_up, rude)
            status, _, err = await self.run_command("keys", "list")
            await turned_away
        self.assertEqual(status, 3)
        self.assertIn("as root", err)

    async def test_a_socket_that_a_killed_gateway_left_is_passed_by(self) -> None:
        """A dead socket file does not keep the command from the store."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.state_dir / "control.sock"))
        await self.ok("keys", "list")

    async def test_keys_are_made_with_the_stores_own_encryption_key_only(self) -> None:
        """Neither a missing nor another encryption key makes keys that nobody would know."""
        path = self.state_dir / "encryption.key"
        path.unlink()
        status, _, err = await self.run_command("keys", "create")
        self.assertEqual(status, 3)
        self.assertIn("restore", err)
        self.assertFalse(path.exists())
        self.config.write_text(self.config.read_text() + "settings: {encryption_key: another-key-entirely}\n")
        status, _, err = await self.run_command("keys", "create")
        self.assertEqual(status, 3)
        self.assertIn("another encryption key", err)
        await self.ok("keys", "list")


class OnPostgres(CliCase):
    driver = "postgres"

    def make_dsn(self) -> str:
        return str(postgres().create_database())

    async def test_keys_and_usage(self) -> None:
        """The commands work on the other database just the same."""
        key = await self.ok("keys", "create", "-q", "--name", "ci")
        listed = await self.rows("keys", "list")
        self.assertEqual([entry["name"] for entry in listed], ["first key", "ci"])
        self.assertTrue(key.strip().endswith(listed[1]["key_hint"][-4:]))
        await write_journal(self, event(started_ms=self.world.wall_ms(), cost_nano=7))
        (row,) = await self.rows("usage")
        self.assertEqual((row["total_requests"], row["cost"]), (1, "0.000000007"))

    async def test_a_database_that_is_not_there(self) -> None:
        """It is said, in one line, soon."""
        text = self.config.read_text().replace(str(postgres().port), "1")
        self.config.write_text(text)
        status, _, err = await self.run_command("keys", "list")
        self.assertEqual((status, len(err.splitlines())), (3, 1), err)
        self.assertIn("database", err)


async def write_journal(case: CliCase, *events: Any) -> None:
    """Leave usage behind as a gateway does that is killed before its batcher gets to it."""
    settings = UsageSettings(reserve_bytes=0)
    journal = Journal(case.world, str(case.state_dir), case.box, 0, "boot", settings)
    await journal.start()
    for each in events:
        journal.append(each)
    await journal.close()


def _hang_up(listening: socket.socket) -> None:
    listening.accept()[0].close()
