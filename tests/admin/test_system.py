"""``/api/v1/system``, ``/api/v1/health`` and ``/api/v1/settings``."""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve

from tests.admin.support import AdminCase, OnPostgres
from voidllm.config import Config, parse_config
from voidllm.core.errors import StoreUnavailable
from voidllm.usage.segments import Segment, folder


class TheInstallation(AdminCase):
    """What runs, how much there is, whether it is well."""

    driver = "sqlite"

    async def _set_up(self) -> None:
        await super()._set_up()
        self.state_dir = self.mktemp()
        os.makedirs(folder(self.state_dir))
        text = f"state_dir: {self.state_dir}\ndatabase: {{driver: {self.driver}, dsn: 'secret'}}\n"
        self.config: Config = parse_config(text, {}, "voidllm.yaml")
        self.context = evolve(self.context, config=lambda: self.config)
        self.listen()

    async def _get(self, path: str, who: str = "system") -> Any:
        status, _, got = await self.call("GET", f"/api/v1/{path}", who=who)
        self.assertEqual(status, 200, got)
        return got

    def _journal(self, size: int) -> None:
        name = Segment("box", 0, "boot", 1).name
        with open(os.path.join(folder(self.state_dir), name), "wb") as file:
            file.truncate(size)

    async def test_how_much_there_is(self) -> None:
        """The system's administrator sees the database, the journal, the snapshot and the counts."""
        self._journal(1234)
        got = await self._get("system")
        self.assertEqual(got["database"]["driver"], self.driver)
        self.assertGreater(got["database"]["bytes"], 10_000)
        self.assertEqual(got["journal"], {"segments": 1, "waiting_bytes": 1234})
        self.assertEqual(got["snapshot"]["keys"], got["stored"]["keys"])
        self.assertEqual((got["stored"]["orgs"], got["stored"]["teams"]), (2, 1))
        self.assertEqual(got["workers"], [])
        for who in ("boss", "worker"):
            for path in ("system", "settings"):
                self.assertEqual((await self.call("GET", f"/api/v1/{path}", who=who))[0], 403)

    async def test_health(self) -> None:
        """Everybody is told which parts are well, and no more."""
        self.assertEqual((await self._get("health", "worker"))["status"], "ok")
        self._journal(100 * 1024 * 1024)

        async def gone() -> None:
            raise StoreUnavailable("gone")

        self.patch(self.store, "ping", gone)
        got = await self._get("health", "mate")
        states = {one["name"]: one["status"] for one in got["components"]}
        self.assertEqual(states, {"database": "error", "journal": "behind", "snapshot": "ok"})
        self.assertEqual(got["status"], "degraded")
        self.assertEqual((await self.call("GET", "/api/v1/health", who=None))[0], 401)

    async def test_settings(self) -> None:
        """Settings are shown with where they come from, and none that is secret."""
        got = await self._get("settings")
        shown = {one["name"]: (one["value"], one["source"]) for one in got["data"]}
        self.assertEqual(shown["settings.audit.enabled"], (True, "default"))
        expected = "default" if self.driver == Config().database.driver else "configuration"
        self.assertEqual(shown["database.driver"], (self.driver, expected))
        self.assertNotIn("secret", str(got))
        self.assertFalse([name for name in shown if "key" in name or "dsn" in name or "secret" in name])


class TheInstallationOnPostgres(OnPostgres, TheInstallation):
    """The same on PostgreSQL."""

    driver = "postgres"
