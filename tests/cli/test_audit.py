"""``voidllm audit`` on a gateway that does not run; the running one answers the same operations."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.support import CliCase
from voidllm.store import open_store
from voidllm.store.statements import Op, q


def _spoil() -> Op[None]:
    yield q("UPDATE audit_log SET actor_name = 'nobody' WHERE seq = 2")


class Audit(CliCase):
    async def test_the_log_is_checked_and_exported(self) -> None:
        """A sound log passes and is printed whole; one that was changed is told by the entry."""
        for name in ("a", "b", "c"):
            await self.ok("keys", "create", "--name", name)
        out = await self.ok("audit", "verify")
        self.assertIn("are what was written", out)
        self.assertEqual(await self.ok("audit", "verify", "-q"), "")
        lines = [
            json.loads(line) for line in (await self.ok("audit", "export", "--action", "create")).splitlines()
        ]
        made = [one for one in lines if one["resource_type"] == "key"]
        self.assertEqual([one["actor_type"] for one in made], ["operator"] * 3)
        self.assertEqual([one["diff"]["name"]["after"] for one in made], ["a", "b", "c"])
        store: Any = open_store(self.world, "sqlite", self.dsn)
        await store.start()
        await store.write(_spoil)
        await store.stop()
        status, _, err = await self.run_command("audit", "verify")
        self.assertEqual(status, 1)
        self.assertIn("entry 2 is not what was written", err)
        status, out, _ = await self.run_command("audit", "verify", "--json")
        self.assertEqual((status, json.loads(out)["fault"]), (1, {"seq": 2, "kind": "altered"}))
