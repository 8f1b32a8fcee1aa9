"""Following the stored models, on one box and on several."""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import NOW, OnPostgres, OnSQLite, new_id, until, world
from voidllm.config import join
from voidllm.config.models import DeploymentConfig, ModelConfig
from voidllm.core.crypto import key_check_value
from voidllm.core.keyfile import write_keys
from voidllm.core.keyring import Keyring, key_id
from voidllm.presence import Presence
from voidllm.store import credentials, models, secrets
from voidllm.store.model_records import StoredCredential, StoredDeployment, StoredModel
from voidllm.store.statements import Op, q
from voidllm.stored_models import StoredModels

OLD, NEW = bytes(range(32)), b"\1" * 32


class _Following:
    """Two boxes on one database."""

    store: Any

    async def _set_up(self) -> None:
        await super()._set_up()  # type: ignore[misc]
        self.world = world()
        self.folder = self.mktemp()  # type: ignore[attr-defined]
        os.mkdir(self.folder)
        self.rings = [Keyring([OLD]), Keyring([OLD])]
        self.told = [0, 0]
        self.boxes = [self._box(number) for number in (0, 1)]
        for box in self.boxes:
            await box.start()
            self.addCleanup(box.stop)  # type: ignore[attr-defined]

    def _box(self, number: int) -> StoredModels:
        def changed() -> None:
            self.told[number] += 1

        return StoredModels(self.world, self.folder, self.store, self.rings[number], changed)

    async def make(self, name: str, secret: str) -> StoredModel:
        model_id, one = new_id(), new_id()
        sealed = self.rings[0].seal(secret, "deployments", "api_key", one)
        place = StoredDeployment(one, model_id, "d", "custom", "http://x/v1", "", NOW, NOW, None, sealed)
        model = StoredModel(
            model_id, name, "chat", NOW, NOW, pricing={"input_per_1m": 150_000_000}, deployments=(place,)
        )
        await self.store.change(None, models.create_model, model)
        return model

    def keys(self, number: int) -> list[str]:
        return [model.deployments[0].api_key for model in self.boxes[number].models]

    async def test_both_follow(self) -> None:
        """A model is on every box soon, with its exact price; a change of something else tells nobody."""
        await self.make("m", "sk-canary")
        await until(lambda: self.keys(0) == self.keys(1) == ["sk-canary"])
        (model,) = self.boxes[1].models
        self.assertEqual(str(model.pricing.input_per_1m), "0.15")  # type: ignore[attr-defined]
        self.assertNotIn("canary", repr(self.boxes[1].models))  # type: ignore[attr-defined]
        told = list(self.told)
        one = new_id()
        sealed = self.rings[0].seal("s", "credentials", "api_key", one)
        new = StoredCredential(one, "unused", "custom", sealed, NOW, NOW)
        await self.store.change(None, credentials.create_credential, new)
        await self.boxes[0].start()
        self.assertEqual(self.told, told)  # type: ignore[attr-defined]

    async def test_another_key_seals(self) -> None:
        """What one box promotes every box seals with; one that does not know it looks into its file."""
        await self.make("m", "s")
        self.rings[0].know([NEW])
        check = key_check_value(NEW)
        await self.store.change(None, secrets.promote, key_id(OLD), key_id(NEW), check)
        await until(lambda: self.rings[0].current == key_id(NEW))
        self.assertEqual(self.rings[1].current, key_id(OLD))  # type: ignore[attr-defined]
        found = await self.store.write(
            secrets.reseal, (0, ""), key_id(NEW), self.rings[0].ids, self.rings[0].reseal
        )
        self.assertEqual((found.done, found.place), (1, None))  # type: ignore[attr-defined]
        write_keys(self.world, self.folder, (OLD, NEW))
        self.boxes[1].reread()
        await until(lambda: self.rings[1].current == key_id(NEW) and self.keys(1) == ["s"])

    async def test_a_key_that_is_not_there(self) -> None:
        """A deployment whose key cannot be opened is left out; the others are served."""
        stranger = Keyring([b"\2" * 32])
        lost = await self.make("lost", "s")
        await self.make("kept", "s")
        await until(lambda: len(self.boxes[0].models) == 2)
        (place,) = lost.deployments
        sealed = stranger.seal("canary", "deployments", "api_key", place.id)
        await self.store.change(
            None, models.change_model, lost, evolve(lost, deployments=(evolve(place, api_key=sealed),))
        )
        await until(lambda: [model.name for model in self.boxes[0].models] == ["kept"])

    async def test_presence(self) -> None:
        """A box says which keys it knows, takes up those of its file, and is forgotten when it goes."""
        box = Presence(self.world, self.folder, self.store, self.rings[1], "second")
        await box.start()
        asked = (key_id(NEW), self.world.wall_ms() - 1000, "first")
        self.assertEqual(await self.store.read(secrets.without, *asked), ["second"])  # type: ignore[attr-defined]
        write_keys(self.world, self.folder, (OLD, NEW))
        await box.start()
        self.assertEqual(await self.store.read(secrets.without, *asked), [])  # type: ignore[attr-defined]
        await box.stop()
        unknown = ("x", 0, "first")
        self.assertEqual(await self.store.read(secrets.without, *unknown), [])  # type: ignore[attr-defined]

    async def test_every_sealed_column_is_there(self) -> None:
        """Each registered column exists; a census of a store without secrets is empty."""
        self.assertEqual(await self.store.read(secrets.census), ())  # type: ignore[attr-defined]

    async def test_what_is_not_sealed_is_not_shown(self) -> None:
        """A value that is no sealed secret is counted as damaged, and nothing of it is told."""
        await self.store.write(_damage)
        (held,) = await self.store.read(secrets.census)
        self.assertEqual(str(held), "credentials.api_key: 1 damaged")  # type: ignore[attr-defined]


def _damage() -> Op[None]:
    yield q(
        "INSERT INTO credentials (id, name, provider, api_key, created_at_ms, updated_at_ms)"
        " VALUES ('i', 'n', 'p', 'sk-canary-in-plain-text', 1, 1)"
    )


class FollowingOnSQLite(_Following, OnSQLite):
    """On SQLite."""


class FollowingOnPostgres(_Following, OnPostgres):
    """On PostgreSQL."""


class JoinTests(SynchronousTestCase):
    """Configured and stored models together."""

    def test_the_configuration_wins(self) -> None:
        """A configured name or alias takes a stored one's place, whole or in part."""
        place = (DeploymentConfig(name="d", provider="demo"),)
        configured = (ModelConfig(name="a", aliases=("x",), provider="demo"),)
        stored = tuple(
            ModelConfig(name=name, aliases=aliases, deployments=place)
            for name, aliases in (("a", ("y",)), ("b", ("x", "z")), ("x", ()), ("c", ("w",)))
        )
        served, hidden = join(configured, stored)
        found = [(model.name, model.aliases) for model in served]
        self.assertEqual(found, [("a", ("x",)), ("b", ("z",)), ("c", ("w",))])
        self.assertEqual(hidden, {"a": ("a",), "b": ("x",), "x": ("x",)})
