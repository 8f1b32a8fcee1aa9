"""Tells the other boxes on a database which encryption keys this one knows."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voidllm.core.errors import StateError, StoreError
from voidllm.core.keyfile import read_keys
from voidllm.core.keyring import Keyring
from voidllm.core.world import World
from voidllm.store import secrets

_log = Logger()
_EVERY_S = 30.0


class Presence:
    """Takes up keys that were put into the key file, and says which keys this box knows.

    :param box: this box's name.
    """

    def __init__(self, world: World, state_dir: str, store: Any, keyring: Keyring, box: str) -> None:
        self._world = world
        self._state_dir = state_dir
        self._store = store
        self._keyring = keyring
        self._box = box
        self._loop = LoopingCall(self._tick)
        self._loop.clock = world.reactor

    async def start(self) -> None:
        """Say it once, then every 30 s.

        :raises StoreError: if the store cannot be written now.
        """
        await self._announce()
        if not self._loop.running:
            self._loop.start(_EVERY_S, now=False).addErrback(
                lambda failure: _log.failure("keys are not announced any more", failure)
            )

    def stop(self) -> Deferred[None]:
        """Say that this box is gone."""
        if not self._loop.running:
            return Deferred.fromCoroutine(_nothing())
        self._loop.stop()
        return Deferred.fromCoroutine(self._depart())

    def _tick(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._again())

    async def _again(self) -> None:
        try:
            await self._announce()
        except StoreError:
            # The next time will do.
            return
        except StateError as error:
            _log.error("{problem}", problem=str(error))

    async def _announce(self) -> None:
        self._keyring.know(await self._world.in_thread(read_keys, self._world, self._state_dir))
        await self._store.write(secrets.announce, self._box, self._keyring.ids, self._world.wall_ms())

    async def _depart(self) -> None:
        try:
            await self._store.write(secrets.depart, self._box)
        except StoreError:
            # It is forgotten after a while.
            return


async def _nothing() -> None:
    return None
