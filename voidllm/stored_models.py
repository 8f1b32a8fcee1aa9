"""Follows the stored models: as values of the configuration, with their secrets opened."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.config.durations import Duration
from voidllm.config.models import DeploymentConfig, ModelConfig, Pricing
from voidllm.core.errors import StateError, StoreError
from voidllm.core.keyfile import read_keys
from voidllm.core.keyring import ID_LENGTH, Keyring, key_of
from voidllm.core.world import World
from voidllm.store import catalogue_version, models
from voidllm.store.model_records import StoredCatalogue, StoredDeployment, StoredModel

_log = Logger()
_NANO = 1_000_000_000
# Notifications do the work; this finds what a lost one would have said.
_POLL_S = 5.0
_RETRY_S = 1.0


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
        self._reading: Deferred[None] | None = None
        self._again = False
        self._timer: Any = None
        self._unsubscribe: Callable[[], None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Read them, then follow the store.

        :raises StoreError: if the store cannot be read now.
        """
        await self._read()
        if self._unsubscribe is None and not self._stopped:
            self._unsubscribe = self._store.subscribe(self.refresh)
            self._schedule(_POLL_S)

    def stop(self) -> None:
        """Follow the store no longer."""
        self._stopped = True
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def refresh(self) -> None:
        """Look soon whether something has changed; calls meanwhile look once more."""
        if self._stopped:
            return
        if self._reading is not None:
            self._again = True
            return
        self._reading = Deferred.fromCoroutine(self._read())
        self._reading.addCallbacks(self._done, self._failed)

    def reread(self) -> None:
        """Read them again, whatever version they have: other keys may be known now."""
        self._seen = -1
        self.refresh()

    def _done(self, _: None) -> None:
        self._reading = None
        again, self._again = self._again, False
        if again:
            self.refresh()
        else:
            self._schedule(_POLL_S)

    def _failed(self, failure: Any) -> None:
        self._reading = None
        self._again = False
        if failure.check(StoreError) is None:
            _log.failure("the stored models cannot be read", failure)
        # What is known serves on.
        self._schedule(_RETRY_S)

    def _schedule(self, delay_s: float) -> None:
        if self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.reset(delay_s)
        else:
            self._timer = self._world.reactor.callLater(delay_s, self.refresh)

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
