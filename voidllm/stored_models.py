"""Follows the stored models: as values of the configuration, with their secrets opened."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Callable, Mapping

from twisted.logger import Logger

from voidllm.config.durations import Duration
from voidllm.config.models import DeploymentConfig, ModelConfig, Pricing
from voidllm.core.errors import StateError
from voidllm.core.keyfile import read_keys
from voidllm.core.keyring import ID_LENGTH, Keyring, key_of
from voidllm.core.world import World
from voidllm.following import Follower
from voidllm.store import catalogue_version, models
from voidllm.store.model_records import StoredCatalogue, StoredDeployment, StoredModel

_log = Logger()
_NANO = 1_000_000_000


class StoredModels:
    """Keeps the stored models at hand, as they are now.

    :param keyring: opens their secrets, and seals from now on with the key that the store names.
    :param changed: called after each change of :attr:`models`.
    :ivar models: active ones, with active deployments only.
    """

    def __init__(
        self, world: World, state_dir: str, store: Any, keyring: Keyring, changed: Callable[[], None]
    ) -> None:
        self.models: tuple[ModelConfig, ...] = ()
        self._world = world
        self._state_dir = state_dir
        self._store = store
        self._keyring = keyring
        self._changed = changed
        self._seen = -1
        self._unreadable: frozenset[str] = frozenset()
        self._follower = Follower(world, store, self._read, "the stored models")

    async def start(self) -> None:
        """Read them, then follow the store.

        :raises StoreError: if the store cannot be read now; then this may be called again.
        """
        await self._follower.start()

    def stop(self) -> None:
        """Follow the store no longer."""
        self._follower.stop()

    def refresh(self) -> None:
        """Look soon whether something has changed."""
        self._follower.refresh()

    def reread(self) -> None:
        """Read them again, whatever version they have: other keys may be known now."""
        self._seen = -1
        self.refresh()

    async def _read(self) -> None:
        if await self._store.read(catalogue_version.current) == self._seen:
            return
        found: StoredCatalogue = await self._store.read(models.catalogue)
        await self._know(found)
        unreadable: set[str] = set()
        made = tuple(
            model
            for one in found.models
            if one.is_active and (model := self._model(one, found.keys, unreadable)) is not None
        )
        self._report(frozenset(unreadable))
        self._seen = found.version
        if made != self.models:
            self.models = made
            self._changed()

    async def _know(self, found: StoredCatalogue) -> None:
        """Look into the key file if a key is not known, and seal with the key that the store names."""
        own = (one.api_key for model in found.models for one in model.deployments if one.api_key is not None)
        wanted = {key_of(sealed) for sealed in (*own, *found.keys.values())}
        current = (found.key_check or "")[:ID_LENGTH]
        if not (wanted | ({current} - {""})) <= set(self._keyring.ids):
            try:
                self._keyring.know(await self._world.in_thread(read_keys, self._world, self._state_dir))
            except StateError as error:
                _log.error("{problem}", problem=str(error))
        if current in self._keyring:
            self._keyring.use(current)
        elif current:
            _log.error(
                "another box seals secrets with the encryption key {key}, which is not known here: copy its "
                "encryption.key to this box, or set encryption_key",
                key=current,
            )

    def _model(self, model: StoredModel, keys: Mapping[str, str], unreadable: set[str]) -> ModelConfig | None:
        deployments = []
        for one in model.deployments:
            if one.is_active:
                try:
                    deployments.append(_deployment(one, self._secret(one, keys)))
                except StateError as error:
                    unreadable.add(f"{model.name}/{one.name}: {error}")
        if not deployments:
            return None
        return ModelConfig(
            name=model.name,
            type=model.type,
            aliases=model.aliases,
            max_context_tokens=model.max_context_tokens,
            pricing=Pricing(**{name: Decimal(nano) / _NANO for name, nano in model.pricing.items()}),
            timeout=Duration(model.timeout_ms),
            strategy=model.strategy,
            max_retries=model.max_retries,
            deployments=tuple(deployments),
        )

    def _secret(self, one: StoredDeployment, keys: Mapping[str, str]) -> str:
        if one.credential_id is not None:
            return self._keyring.open(keys[one.credential_id], "credentials", "api_key", one.credential_id)
        if one.api_key is not None:
            return self._keyring.open(one.api_key, "deployments", "api_key", one.id)
        return ""

    def _report(self, unreadable: frozenset[str]) -> None:
        for problem in sorted(unreadable - self._unreadable):
            _log.error("a deployment is left out: {problem}", problem=problem)
        self._unreadable = unreadable


def _deployment(one: StoredDeployment, api_key: str) -> DeploymentConfig:
    return DeploymentConfig(
        name=one.name,
        provider=one.provider,
        base_url=one.base_url,
        upstream_model=one.upstream_model,
        api_key=api_key,
        weight=one.weight,
        priority=one.priority,
    )
