"""Where encryption keys come from: the configuration, or a file in the state folder.

The file has a key a line, as standard base64 of 32 bytes. The first one is what a new store
begins with; which one seals later is the store's to say (see :mod:`voidllm.core.keyring`).
"""

from __future__ import annotations

import base64
import os
from typing import Iterable, Sequence

from voidllm.core.crypto import KEY_BYTES, decode_key, parse_encryption_key
from voidllm.core.errors import StateError
from voidllm.core.keyring import MAX_KEYS
from voidllm.core.world import World

#: Name of the file in the state folder.
KEY_FILE = "encryption.key"
_LONGEST = 4096


def key_path(state_dir: str) -> str:
    """Give the path of a state folder's key file."""
    return os.path.join(state_dir, KEY_FILE)


def configured_keys(key: str, older: Sequence[str]) -> tuple[bytes, ...]:
    """Give the keys that the configuration names; none without ``encryption_key``.

    :raises StateError: if one of them is too short.
    """
    return tuple(parse_encryption_key(text) for text in (key, *older)) if key else ()


def read_keys(world: World, state_dir: str) -> tuple[bytes, ...]:
    """Read the key file; none if there is no file. Blocks.

    :raises StateError: if it cannot be read or holds something else.
    """
    path = key_path(state_dir)
    try:
        if not world.fs.exists(path):
            return ()
        fd = world.fs.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = world.fs.pread(fd, _LONGEST, 0)
        finally:
            world.fs.close(fd)
    except OSError as error:
        raise _unusable(path, error) from None
    keys = [decode_key(line) for line in data.decode("latin-1").split()]
    if not 1 <= len(keys) <= MAX_KEYS or None in keys or len(data) == _LONGEST:
        raise StateError(
            f"the encryption key file {path} is damaged: each of its lines must hold base64 of "
            f"{KEY_BYTES} bytes, and it may have {MAX_KEYS} lines at most; restore it from a backup"
        )
    return tuple(key for key in keys if key is not None)


def create_key(world: World, state_dir: str) -> tuple[bytes, ...]:
    """Make a key and its file. Blocks.

    :raises StateError: if it cannot be written.
    """
    keys = (world.random_bytes(KEY_BYTES),)
    try:
        world.fs.makedirs(state_dir, 0o700)
    except OSError as error:
        raise _unusable(key_path(state_dir), error) from None
    write_keys(world, state_dir, keys)
    return keys


def write_keys(world: World, state_dir: str, keys: Iterable[bytes]) -> None:
    """Write the key file anew: after a crash there is the old one or the new one, whole. Blocks.

    :raises StateError: if it cannot be written.
    """
    fs, path = world.fs, key_path(state_dir)
    text = b"".join(base64.b64encode(key) + b"\n" for key in keys)
    draft = path + ".new"
    try:
        if fs.exists(draft):
            fs.unlink(draft)
        fd = fs.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if fs.write(fd, text) != len(text):
                raise StateError(f"the encryption key file {path} cannot be written whole")
            fs.fsync(fd)
        finally:
            fs.close(fd)
        fs.rename(draft, path)
        folder = fs.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fs.fsync(folder)
        finally:
            fs.close(folder)
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: str, error: OSError) -> StateError:
    return StateError(f"the encryption key file {path} cannot be used: {os.strerror(error.errno or 0)}")
