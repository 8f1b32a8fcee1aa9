"""Keys and what is made with them: digests of API keys, secrets at rest, and the key's file.

Everything starts from one 32-byte encryption key. Other keys are derived from it by
HKDF-SHA256 (RFC 5869), so that none of them gives another one away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voidllm.core.errors import StateError
from voidllm.core.world import World

KEY_BYTES = 32

#: Name of the key's file in the state folder.
KEY_FILE = "encryption.key"

#: HKDF ``info`` of the key that API keys are digested with.
API_KEY_INFO = b"voidllm-hmac-key"
_CHECK_INFO = b"voidllm-key-check"

_MIN_PASSPHRASE = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_BLOCK = 64
_INNER_PAD = bytes(b ^ 0x36 for b in range(256))
_OUTER_PAD = bytes(b ^ 0x5C for b in range(256))


def decode_key(text: str) -> bytes | None:
    """Give the key that ``text`` is the standard base64 of, or ``None`` if it is no such thing."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def parse_encryption_key(text: str) -> bytes:
    """Turn a configured encryption key into 32 bytes.

    Standard base64 of exactly 32 bytes is used as it is; any other text is hashed with SHA-256.

    :raises StateError: if the text is shorter than 16 characters.
    """
    key = decode_key(text)
    if key is not None:
        return key
    if len(text) < _MIN_PASSPHRASE:
        raise StateError(
            f"the encryption key is too short: give base64 of {KEY_BYTES} random bytes, "
            f"or at least {_MIN_PASSPHRASE} characters"
        )
    return hashlib.sha256(text.encode("utf-8")).digest()


def derive(key: bytes, info: bytes) -> bytes:
    """Derive a 32-byte key for the purpose ``info`` by HKDF-SHA256 without salt."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def key_check_value(key: bytes) -> str:
    """Give a value by which ``key`` is recognised later, and from which it cannot be computed.

    It is kept in the store, so that a start with another key is noticed before anything is
    decrypted or refused by mistake.
    """
    return derive(key, _CHECK_INFO)[:16].hex()


def load_or_create_key(world: World, state_dir: str, configured: str | None, store_empty: bool) -> bytes:
    """Find the encryption key, or make one if nothing can have been encrypted yet.

    Blocks on files; called at start only.

    :param configured: the key as the configuration gives it, which then wins over the file.
    :param store_empty: whether nobody has ever been created in the store.
    :returns: 32 bytes.
    :raises StateError: if the key is missing, unreadable or too short; says what to do.
    """
    if configured:
        return parse_encryption_key(configured)
    path = os.path.join(state_dir, KEY_FILE)
    try:
        if world.fs.exists(path):
            return _read(world, path)
        if not store_empty:
            raise StateError(
                f"the store holds data, but its encryption key is missing: restore {path} from a backup, "
                "or set encryption_key in the configuration to the key that the store was made with"
            )
        return _create(world, state_dir, path)
    except OSError as e:
        problem = os.strerror(e.errno or 0)
        raise StateError(f"the encryption key file {path} cannot be used: {problem}") from None


def check_key(key: bytes, known: str | None) -> None:
    """Compare ``key`` with the check value that the store keeps.

    :param known: what :func:`key_check_value` gave when the store was
        made, or ``None`` if it keeps none.
    :raises StateError: if the store was made with another key; says what to do.
    """
    if known is not None and known != key_check_value(key):
        raise StateError(
            "the store was made with another encryption key: restore the key file from a backup, or "
            "set encryption_key in the configuration to that key; with this one no API key would be "
            "known and no stored secret could be read"
        )


def _read(world: World, path: str) -> bytes:
    fd = world.fs.open(path, os.O_RDONLY)
    try:
        data = world.fs.pread(fd, 4096, 0)
    finally:
        world.fs.close(fd)
    key = decode_key(data.decode("latin-1").strip())
    if key is None:
        raise StateError(
            f"the encryption key file {path} is damaged: it must hold base64 of {KEY_BYTES} bytes; "
            "restore it from a backup"
        )
    return key


def _create(world: World, state_dir: str, path: str) -> bytes:
    fs = world.fs
    fs.makedirs(state_dir, 0o700)
    key = world.random_bytes(KEY_BYTES)
    line = base64.b64encode(key) + b"\n"
    # Under another name first: a crash half-way must not leave a damaged key behind.
    draft = path + ".new"
    if fs.exists(draft):
        fs.unlink(draft)
    fd = fs.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if fs.write(fd, line) != len(line):
            raise StateError(f"the encryption key file {path} cannot be written whole")
        fs.fsync(fd)
    finally:
        fs.close(fd)
    fs.rename(draft, path)
    _sync_folder(world, state_dir)
    return key


def _sync_folder(world: World, folder: str) -> None:
    fd = world.fs.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        world.fs.fsync(fd)
    finally:
        world.fs.close(fd)


class KeyDigester:
    """HMAC-SHA256 (RFC 2104) under one secret, with the secret's blocks hashed beforehand.

    The two prepared hashes cost half of what copying an HMAC object costs.

    :param secret: 32 bytes, ``derive(key, API_KEY_INFO)`` for API keys.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        if len(secret) > _BLOCK:
            secret = hashlib.sha256(secret).digest()
        block = secret.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD)).copy
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD)).copy

    def digest(self, data: bytes) -> bytes:
        """Give the 32-byte digest of ``data``."""
        inner = self._inner()
        inner.update(data)
        outer = self._outer()
        outer.update(inner.digest())
        return outer.digest()


class SecretBox:
    """Encrypts the secrets that a store keeps, each bound to the cell that it is kept in.

    AES-256-GCM; a sealed secret is base64 of ``nonce (12) | ciphertext | tag (16)``, and the
    associated data is ``table|column|row id``, so that a value moved to another row or column
    does not open.

    :param key: the 32-byte encryption key.
    :param random_bytes: where nonces come from.
    """

    __slots__ = ("_cipher", "_random_bytes")

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key must have {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def seal(self, secret: str, table: str, column: str, row_id: str) -> str:
        """Encrypt ``secret`` for one cell."""
        nonce = self._random_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode("utf-8"), _cell(table, column, row_id))
        return base64.b64encode(nonce + sealed).decode("ascii")

    def open(self, sealed: str, table: str, column: str, row_id: str) -> str:
        """Decrypt what :meth:`seal` made for the same cell.

        :raises StateError: if it was changed, moved, or sealed with another key.
        """
        try:
            raw = base64.b64decode(sealed, validate=True)
            if len(raw) < _NONCE_BYTES + _TAG_BYTES:
                raise ValueError("too short")
            secret = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _cell(table, column, row_id)
            )
        except (InvalidTag, ValueError):
            # Without the cause: it may carry the value.
            raise StateError(f"a secret in {table}.{column} cannot be decrypted with this key") from None
        return secret.decode("utf-8")


def _cell(table: str, column: str, row_id: str) -> bytes:
    if "|" in table or "|" in column:
        raise ValueError("names of tables and columns must not hold '|'")
    return f"{table}|{column}|{row_id}".encode()
