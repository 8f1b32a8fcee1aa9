"""A stopped gateway's folder, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.harness import ROOT
from voidllm.bootstrap import FirstCredentials, bootstrap, box_id
from voidllm.core.crypto import API_KEY_INFO, KeyDigester, derive, key_check_value
from voidllm.core.keyfile import create_key
from voidllm.core.world import World
from voidllm.store import open_store

COMMAND = str(Path(sys.executable).with_name("voidllm"))


class CliCase(TestCase):
    """``self.state_dir`` as the first start of a gateway leaves it, ``self.first`` its credentials."""

    timeout = 120
    driver = "sqlite"

    def setUp(self) -> Deferred[None]:
        return ensureDeferred(self._set_up())

    async def _set_up(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.state_dir = folder / "state"
        self.state_dir.mkdir()
        self.config = folder / "voidllm.yaml"
        self.dsn = self.make_dsn()
        value = {
            "state_dir": str(self.state_dir),
            "database": {"driver": self.driver, "dsn": self.dsn},
            "models": [{"name": "demo", "provider": "demo"}],
        }
        self.config.write_text(yaml.safe_dump(value))
        self.world = World(reactor=reactor, in_thread=deferToThread)
        await self.seed()

    def make_dsn(self) -> str:
        return str(self.state_dir / "voidllm.db")

    async def seed(self) -> None:
        store: Any = open_store(self.world, self.driver, self.dsn)
        await store.start()
        (key,) = create_key(self.world, str(self.state_dir))
        self.digester = KeyDigester(derive(key, API_KEY_INFO))
        first = await bootstrap(
            self.world,
            store,
            self.digester,
            org_name="Default",
            org_slug="default",
            admin_email="admin@example.org",
            meta=(("encryption_key_check", key_check_value(key)),),
            state_dir=str(self.state_dir),
        )
        assert isinstance(first, FirstCredentials)
        self.first = first
        self.box = box_id(self.world, str(self.state_dir))
        await store.stop()

    async def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command; gives exit status, standard output and standard error."""
        return await deferToThread(run, self.config, *arguments)

    async def ok(self, *arguments: str) -> str:
        """Run the command, which must succeed; gives its standard output."""
        status, out, err = await self.run_command(*arguments)
        self.assertEqual((status, "Traceback" in err), (0, False), err)
        return out

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run the command for JSON and give its ``data``."""
        return list(json.loads(await self.ok(*arguments, "--json"))["data"])


def run(config: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command on a configuration file."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=ROOT,
        env={**os.environ, "VOIDLLM_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
