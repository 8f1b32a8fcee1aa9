"""``voidllm rotate-key`` on a stopped gateway and on one that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.cli.support import CliCase
from tests.harness import Gateway, MockLLM, request, wait_until
from tests.servers import postgres
from tests.store.support import NOW, new_id
from voidllm.core.errors import StateError
from voidllm.core.keyfile import read_keys
from voidllm.core.keyring import Keyring
from voidllm.store import credentials, open_store, secrets
from voidllm.store.model_records import StoredCredential
from voidllm.unlocking import digest_key, find_keyring


class Stopped(CliCase):
    """On the store of a gateway that does not run."""

    async def store_of(self) -> Any:
        store: Any = open_store(self.world, self.driver, self.dsn)
        await store.start()
        return store

    async def keep(self, count: int, ring: Keyring) -> list[str]:
        """Keep some credentials; gives their ids."""
        store = await self.store_of()
        await digest_key(store, ring)
        made = [new_id() for _ in range(count)]
        for one in made:
            sealed = ring.seal(f"secret of {one}", "credentials", "api_key", one)
            new = StoredCredential(one, one, "openai", sealed, NOW, NOW)
            await store.change(None, credentials.create_credential, new)
        await store.stop()
        return made

    def ring(self) -> Keyring:
        return Keyring(read_keys(self.world, str(self.state_dir)))

    async def secrets_of(self, ids: list[str]) -> set[str]:
        """Open all credentials with the newest key alone; gives what they hold."""
        alone = Keyring(self.ring().keys[:1])
        store = await self.store_of()
        found = {
            alone.open(
                (await store.read(credentials.get_credential, one)).api_key, "credentials", "api_key", one
            )
            for one in ids
        }
        await store.stop()
        return found

    async def test_rotated(self) -> None:
        """All secrets get the new key, API keys stay, and the old key can be forgotten then."""
        old = self.ring()
        made = await self.keep(250, old)
        before = await digest_of(self)
        shown = json.loads(await self.ok("rotate-key", "--json"))
        self.assertEqual((shown["sealed"], shown["remaining"], shown["complete"]), (251, 0, True))
        now = self.ring()
        self.assertEqual(now.ids, (shown["key_id"], old.current))
        self.assertEqual(await self.secrets_of(made), {f"secret of {one}" for one in made})
        self.assertEqual(await digest_of(self), before)
        out = await self.ok("rotate-key", "--forget-old")
        self.assertIn(old.current, out)
        self.assertEqual(self.ring().ids, (shown["key_id"],))
        self.assertEqual(await digest_of(self), before)
        self.assertIn("only one", await self.ok("rotate-key", "--forget-old"))

    async def test_interrupted(self) -> None:
        """A rotation that was interrupted after any step goes on with the same key."""
        made = await self.keep(3, self.ring())
        client = _offline(self)
        begun = await client("begin_rotation")
        self.assertEqual(begun["remaining"], 4)
        status, _, err = await self.run_command("rotate-key", "--forget-old")
        self.assertEqual(status, 1)
        self.assertIn("credentials.api_key: 3", err)
        shown = json.loads(await self.ok("rotate-key", "--json"))
        self.assertEqual((shown["key_id"], shown["sealed"]), (begun["key_id"], 4))
        self.assertEqual(await self.secrets_of(made), {f"secret of {one}" for one in made})

    async def test_prepared_only(self) -> None:
        """A key that was written and not yet used is the one that is used, not another one."""
        ring = self.ring()
        store = await self.store_of()
        await digest_key(store, ring)
        await store.write(secrets.announce, "elsewhere", ring.ids, self.world.wall_ms())
        await store.stop()
        for _ in range(2):
            status, _, err = await self.run_command("rotate-key")
            self.assertEqual(status, 1)
            self.assertIn("elsewhere", err)
        keys = self.ring().ids
        self.assertEqual((len(keys), keys[0]), (2, ring.current))
        store = await self.store_of()
        await store.write(secrets.announce, "elsewhere", keys, self.world.wall_ms())
        await store.stop()
        self.assertEqual(json.loads(await self.ok("rotate-key", "--json"))["key_id"], keys[1])

    async def test_lost_key(self) -> None:
        """Secrets whose key is gone are named by column, count and key, and nothing is started."""
        stranger = Keyring([b"\7" * 32])
        await self.keep(2, self.ring())
        store = await self.store_of()
        one = new_id()
        sealed = stranger.seal("canary", "credentials", "api_key", one)
        new = StoredCredential(one, one, "openai", sealed, NOW, NOW)
        await store.change(None, credentials.create_credential, new)
        with self.assertRaises(StateError) as caught:
            await find_keyring(self.world, str(self.state_dir), (), store, may_create=True)
        await store.stop()
        self.assertIn(f"credentials.api_key: 1 with key {stranger.current}", str(caught.exception))
        self.assertNotIn("canary", str(caught.exception))
        status, _, err = await self.run_command("rotate-key")
        self.assertEqual(status, 3)
        self.assertIn(stranger.current, err)

    async def test_missing_file(self) -> None:
        """Without any key file the error says what cannot be read, and no key is made."""
        ring = self.ring()
        await self.keep(2, ring)
        path = Path(self.state_dir, "encryption.key")
        path.unlink()
        _, _, err = await self.run_command("rotate-key")
        self.assertIn(f"credentials.api_key: 2 with key {ring.current}", err)
        self.assertFalse(path.exists())

    async def test_configured(self) -> None:
        """With keys of the configuration, the new one there is taken, and the old one opens until then."""
        made = await self.keep(2, self.ring())
        before = await digest_of(self)
        text = self.config.read_text()
        self.config.write_text(text + "settings: {encryption_key: the-first-configured-key}\n")
        self.assertIn("3 secrets", await self.ok("rotate-key"))
        status, _, err = await self.run_command("rotate-key")
        self.assertEqual(status, 1)
        self.assertIn("encryption_keys_old", err)
        Path(self.state_dir, "encryption.key").unlink()
        self.config.write_text(
            text + "settings: {encryption_key: the-second-configured-key, "
            "encryption_keys_old: [the-first-configured-key]}\n"
        )
        self.assertIn("3 secrets", await self.ok("rotate-key"))
        self.assertIn("encryption_keys_old", await self.ok("rotate-key", "--forget-old"))
        self.config.write_text(text + "settings: {encryption_key: the-second-configured-key}\n")
        self.assertEqual(await digest_of(self), before)
        self.assertEqual(len(made), 2)


class StoppedOnPostgres(Stopped):
    """The same on PostgreSQL."""

    driver = "postgres"

    def make_dsn(self) -> str:
        return postgres().create_database()


class Running(CliCase):
    """On a gateway that serves requests meanwhile."""

    async def seed(self) -> None:
        """The gateway makes its own store."""

    async def test_online(self) -> None:
        """Keys, stored models and their secrets work before, while and after; a restart finds all of it."""
        await deferToThread(self._online, Gateway(Path(self.mktemp()).resolve()))

    async def test_online_with_workers(self) -> None:
        """The same where workers answer requests."""
        await deferToThread(self._online, Gateway(Path(self.mktemp()).resolve(), workers=2))

    def _online(self, gateway: Gateway) -> None:
        mock = MockLLM()
        gateway.start()
        try:
            made = json.loads(
                gateway.cli("keys", "create", "--name", "a", "--scope", "admin:write", "--json")
            )
            admin = {"authorization": f"Bearer {made['key']}"}
            place = {"provider": "custom", "base_url": mock.base_url, "api_key": "sk-upstream"}
            status, _, body = gateway.post("/api/v1/models", {"name": "stored", **place}, admin)
            self.assertEqual(status, 201, body)
            wait_until(lambda: gateway.chat("stored")[0] == 200, "the stored model", 5)
            path = f"/api/v1/models/stored/deployments/{json.loads(body)['deployments'][0]['id']}"
            probed = json.loads(gateway.post(path + "/test-connection", {}, admin)[2])
            self.assertTrue(probed["success"], probed)
            for _ in range(2):
                shown = json.loads(gateway.cli("rotate-key", "--json"))
                self.assertEqual((shown["sealed"], shown["complete"]), (2, True))
                self.assertEqual(gateway.chat("stored")[0], 200)
            gateway.cli("rotate-key", "--forget-old")
            self.assertEqual(len(read_keys(self.world, str(gateway.state_dir))), 1)
            self.assertEqual(gateway.stop(), 0)
            gateway.start()
            self.assertEqual(gateway.chat("stored")[0], 200)
            self.assertEqual(request(gateway.port, "DELETE", "/api/v1/models/stored", None, admin)[0], 204)
            wait_until(lambda: gateway.chat("stored")[0] == 404, "the end of the stored model", 5)
        finally:
            gateway.stop()
            mock.stop()


async def digest_of(case: Stopped) -> bytes:
    """Give what API keys are digested with."""
    from voidllm.cli.settings import Settings
    from voidllm.core.keyfile import configured_keys

    settings = Settings(str(case.config)).store().settings
    configured = configured_keys(settings.encryption_key, settings.encryption_keys_old)
    store = await case.store_of()
    ring = await find_keyring(case.world, str(case.state_dir), configured, store, may_create=False)
    found = await digest_key(store, ring)
    await store.stop()
    return found


def _offline(case: Stopped) -> Any:
    from voidllm.cli.offline import OfflineClient
    from voidllm.cli.settings import Settings

    async def do(name: str) -> dict[str, Any]:
        store = await case.store_of()
        client = OfflineClient(case.world, store, Settings(str(case.config)).store())
        done = await client.encryption(name, {})
        await store.stop()
        return done

    return do
