"""A real store with an organisation or two, and the admin application on real sockets."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.admin import contract
from tests.harness import request
from tests.servers import postgres
from tests.store.support import NOW, event, new_id, org, seed, team, user, world
from voidllm.admin.context import AdminContext
from voidllm.admin.root import make_root
from voidllm.auth.keys import generate, hint
from voidllm.config import Config
from voidllm.core.crypto import KeyDigester
from voidllm.core.keyring import Keyring
from voidllm.core.model import Model
from voidllm.core.snapshots import SnapshotHolder
from voidllm.http.site import StrictSite
from voidllm.snapshots import Catalogue, SnapshotPublisher
from voidllm.store import open_store
from voidllm.store.records import NewKey, Org, Team, User
from voidllm.store.statements import Op, q

__all__ = ["NOW", "AdminCase", "OnPostgres", "event", "new_id", "user"]


class OnPostgres:
    """Put before an :class:`AdminCase`: the same on PostgreSQL."""

    world: Any

    def make_store(self) -> Any:
        return open_store(self.world, "postgres", postgres().create_database(), connections=4)


def _join_team(where: Team, user_id: str, role: str) -> Op[None]:
    yield q(
        "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?, ?)",
        where.id,
        where.org_id,
        user_id,
        role,
        NOW,
    )


class _Metrics:
    def render(self) -> bytes:
        return b"voidllm_things 1\n"


class AdminCase(TestCase):
    """A store with two organisations in ``self.store`` and a port that serves the root.

    :ivar keys: names to the API keys of who can call: ``system``, ``boss`` (org_admin of ``org``),
        ``lead`` (team_admin of ``team``), ``mate`` (member of ``team``), ``worker`` (member), and
        ``other_boss`` (org_admin of ``other``).
    :ivar ids: the same names to the ids of those keys.
    :ivar users: the same names to the ids of the people.
    """

    timeout = 60

    def setUp(self) -> Deferred[None]:
        return ensureDeferred(self._set_up())

    async def _set_up(self) -> None:
        self.world = world()
        self.state = "ready"
        self.flushed = 0
        self.digester = KeyDigester(bytes(32))
        self.keyring = Keyring([bytes(32)])
        self.config = Config()
        self.store: Any = self.make_store()
        await self.store.start()
        self.addCleanup(self.store.stop)
        self.holder = SnapshotHolder()
        self.keys: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.users: dict[str, str | None] = {}
        first = seed()
        await self.store.bootstrap(first, NOW)
        self.org, self.admin = first.org, first.admin
        self.other = await self.store.create_org(org(name="Other", slug="other"))
        await self._person("system", self.org, self.admin)
        await self._person("boss", self.org, await self._user(self.org, "org_admin"))
        await self._person("other_boss", self.other, await self._user(self.other, "org_admin"))
        await self._person("worker", self.org, await self._user(self.org, "member"))
        self.team = await self.store.create_team(team(self.org, name="Team", slug="team"))
        for name, role in (("lead", "team_admin"), ("mate", "member")):
            person = await self._user(self.org, "member")
            await self.store.write(_join_team, self.team, person.id, role)
            await self._person(name, self.org, person)
        await self.publish()
        self.context = AdminContext(
            world=self.world,
            store=self.store,
            digester=self.digester,
            snapshots=self.holder,
            flush=self.flush,
            config_view=lambda: {"database": {"driver": "sqlite"}},
            config=lambda: self.config,
            secrets=self.keyring,
        )
        self.listen()

    def make_store(self) -> Any:
        return open_store(self.world, "sqlite", self.mktemp())

    #: Names of the models that are configured; the first has the alias ``everywhere``.
    models: tuple[str, ...] = ("demo", "m", "a", "b")

    #: Networks whose ``X-Forwarded-For`` is believed.
    trusted_proxies: tuple[Any, ...] = ()

    def listen(self) -> None:
        root = make_root(
            self.world,
            state=lambda: self.state,
            ping=self.store.ping,
            proxy=Deferred,
            context=lambda: self.context,
            metrics=_Metrics(),
            metrics_token="",
            trusted_proxies=self.trusted_proxies,
        )
        port: Any = reactor.listenTCP(0, StrictSite(self.world, root), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def flush(self) -> Deferred[None]:
        self.flushed += 1
        return succeed(None)

    async def _user(self, where: Org, role: str) -> User:
        made: User = await self.store.create_user(user(), where.id, role)
        return made

    async def _person(self, name: str, where: Org, person: User, **more: Any) -> None:
        await self.mint(name, where, user_id=person.id, **more)

    async def mint(self, name: str, where: Org, **more: Any) -> None:
        """Make a key for ``self.keys`` that is for everything."""
        secret = generate("user_key", os.urandom)
        scopes = frozenset({"inference", "admin:read", "admin:write"})
        values = {"key_type": "user_key", "name": name, "org_id": where.id, "scopes": scopes, **more}
        digest = self.digester.digest(secret.encode()).hex()
        made = await self.store.create_key(NewKey(id=new_id(), hash=digest, hint=hint(secret), **values), NOW)
        self.keys[name], self.ids[name] = secret, made.id
        self.users[name] = made.user_id

    async def publish(self) -> None:
        """Do what the publisher does after each change."""
        models = {name: Model(name, "chat", ()) for name in self.models}
        catalogue = Catalogue(models, {"everywhere": self.models[0]})
        publisher = SnapshotPublisher(self.world, self.store, self.holder, catalogue)
        await publisher.start()
        publisher.stop()

    async def call(
        self, method: str, path: str, value: Any = None, who: str | None = "system", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Send one request; gives status, headers and the decoded body."""
        body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        if who is not None:
            headers["authorization"] = f"Bearer {self.keys[who]}"
        status, got, reply = await deferToThread(request, self.port, method, path, body, headers)
        decoded = json.loads(reply) if got.get("content-type") == "application/json" and reply else reply
        contract.check(method, path, status, got, decoded)
        return status, got, decoded
