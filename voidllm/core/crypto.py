"""Keys and what is made with them: digests of API keys, and secrets at rest.

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

KEY_BYTES = 32

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

    The store keeps that of the key that seals, so that a start without it is noticed before
    anything is decrypted or refused by mistake.
    """
    return derive(key, _CHECK_INFO)[:16].hex()


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
