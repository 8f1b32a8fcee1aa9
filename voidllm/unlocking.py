"""From the store and the state folder to the keys that open secrets and digest API keys."""

from __future__ import annotations

from typing import Any, Iterable

from voidllm.core.crypto import API_KEY_INFO, derive, key_check_value
from voidllm.core.errors import StateError
from voidllm.core.keyfile import create_key, key_path, read_keys
from voidllm.core.keyring import ID_LENGTH, Keyring
from voidllm.core.world import World
from voidllm.store import secrets
from voidllm.store.sealed import DIGEST_KEY, KEY_CHECK
from voidllm.store.secrets import Held

_CELL = ("meta", "value", DIGEST_KEY)


async def find_keyring(
    world: World, state_dir: str, configured: tuple[bytes, ...], store: Any, *, may_create: bool
) -> Keyring:
    """Find the encryption keys and make sure that they open all that the store holds.

    :param configured: the keys that the configuration names; they come before those of the file.
    :param may_create: make a key if nothing can have been encrypted yet.
    :raises StateError: if a key is missing; says which secrets cannot be read, and what to do.
    :raises StoreError: if the store cannot be read now.
    """
    known = await store.meta_get(KEY_CHECK)
    held = await store.read(secrets.census)
    keys = (*configured, *await world.in_thread(read_keys, world, state_dir))
    if not keys:
        if known is not None or held or not may_create or not await store.is_empty():
            raise StateError(
                f"the store holds data, but its encryption key is missing{_lost(held)}: restore "
                f"{key_path(state_dir)} from a backup, or set encryption_key in the configuration to the key "
                "that the store was made with"
            )
        keys = await world.in_thread(create_key, world, state_dir)
    ring = Keyring(keys, world.random_bytes)
    if known is not None:
        name = known[:ID_LENGTH]
        if name not in ring or key_check_value(ring.key(name)) != known:
            raise StateError(
                f"the store was made with another encryption key ({name}), which is not there"
                f"{_lost(one for one in held if one.key_id not in ring)}: restore {key_path(state_dir)} from "
                "a backup, or set encryption_key in the configuration to that key; without it no API key "
                "would be known and no stored secret could be read"
            )
        ring.use(name)
    lost = [one for one in held if one.key_id not in ring]
    if lost:
        raise StateError(
            f"an encryption key is missing{_lost(lost)}: add the key to {key_path(state_dir)} as a further "
            "line, or to encryption_keys_old in the configuration"
        )
    return ring


def _lost(held: Iterable[Held]) -> str:
    listed = "; ".join(map(str, held))
    return f" (secrets that cannot be read: {listed})" if listed else ""


def seal_digest_key(keyring: Keyring, key: bytes) -> str:
    """Give what ``meta`` keeps of the key that API keys are digested with."""
    return keyring.seal(key.hex(), *_CELL)


async def digest_key(store: Any, keyring: Keyring) -> bytes:
    """Give the key that API keys are digested with, 32 bytes.

    A store from before it had one of its own goes on with what it was derived from, so that all
    its API keys go on working.

    :raises StateError: if it cannot be read.
    :raises StoreError: if the store cannot be read or written now.
    """
    sealed = await store.meta_get(DIGEST_KEY)
    if sealed is None:
        derived = derive(keyring.key(keyring.current), API_KEY_INFO)
        sealed = await store.write(secrets.keep_first, DIGEST_KEY, seal_digest_key(keyring, derived))
    return bytes.fromhex(keyring.open(sealed, *_CELL))
