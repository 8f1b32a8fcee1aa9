"""Keys, digests and secrets at rest."""

from __future__ import annotations

import base64
import hashlib
import hmac

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.crypto import (
    API_KEY_INFO,
    KeyDigester,
    SecretBox,
    derive,
    key_check_value,
    parse_encryption_key,
)
from voidllm.core.errors import StateError

KEY = bytes(range(32))


class KeyTests(SynchronousTestCase):
    """The encryption key and what is derived from it."""

    def test_base64_of_32_bytes(self) -> None:
        """Standard base64 of exactly 32 bytes is the key itself."""
        self.assertEqual(parse_encryption_key(base64.b64encode(KEY).decode()), KEY)

    def test_any_other_text(self) -> None:
        """Other texts are hashed, base64 of another length and non-ASCII among them."""
        for text in (base64.b64encode(KEY[:31]).decode(), "sixteen chars ok", "\u00fc" * 16):
            self.assertEqual(parse_encryption_key(text), hashlib.sha256(text.encode()).digest())

    def test_too_short(self) -> None:
        """Fifteen characters are refused, and not repeated."""
        error = self.assertRaises(StateError, parse_encryption_key, "canary-15-chars")
        self.assertNotIn("canary", str(error))

    def test_hkdf_known_answer(self) -> None:
        """Derivation is HKDF-SHA256 of one block (RFC 5869), so that stored digests stay valid."""
        pseudo = hmac.digest(b"\0" * 32, KEY, "sha256")
        expected = hmac.digest(pseudo, API_KEY_INFO + b"\x01", "sha256")
        self.assertEqual(derive(KEY, API_KEY_INFO), expected)
        self.assertEqual(API_KEY_INFO, b"voidllm-hmac-key")

    def test_digester_is_hmac(self) -> None:
        """The prepared digest equals HMAC-SHA256 for secrets of any length and any data."""
        for secret in (b"", b"k", KEY, b"x" * 64, b"y" * 65, b"z" * 200):
            digester = KeyDigester(secret)
            for data in (b"", b"vl_uk_" + b"a" * 48, b"d" * 1000):
                self.assertEqual(digester.digest(data), hmac.digest(secret, data, "sha256"))

    def test_check_value(self) -> None:
        """Another key is recognised by the check value, which holds nothing of the key."""
        value = key_check_value(KEY)
        self.assertNotEqual(value, key_check_value(b"\1" * 32))
        self.assertNotIn(value, KEY.hex() + derive(KEY, API_KEY_INFO).hex())


class SecretBoxTests(SynchronousTestCase):
    """Secrets bound to their cells."""

    def setUp(self) -> None:
        """Seal a secret."""
        self.box = SecretBox(KEY)
        self.sealed = self.box.seal("sk-canary-\u00fc", "models", "api_key", "id-1")

    def test_round_trip(self) -> None:
        """A sealed secret opens in its own cell."""
        self.assertEqual(self.box.open(self.sealed, "models", "api_key", "id-1"), "sk-canary-\u00fc")
        self.assertEqual(len(base64.b64decode(self.sealed)), 12 + len("sk-canary-\u00fc".encode()) + 16)

    def test_moved(self) -> None:
        """In another row, column or table it does not open."""
        for cell in (
            ("models", "api_key", "id-2"),
            ("models", "token", "id-1"),
            ("servers", "api_key", "id-1"),
        ):
            error = self.assertRaises(StateError, self.box.open, self.sealed, *cell)
            self.assertNotIn("canary", str(error))
            self.assertTrue(error.__suppress_context__)

    def test_damaged(self) -> None:
        """Changed bytes, no base64, and too few bytes do not open."""
        raw = bytearray(base64.b64decode(self.sealed))
        raw[14] ^= 1
        for sealed in (base64.b64encode(raw).decode(), "%%%", "", "AAAA", "\u00fc"):
            self.assertRaises(StateError, self.box.open, sealed, "models", "api_key", "id-1")

    def test_other_key(self) -> None:
        """Another key does not open it."""
        other = SecretBox(b"\1" * 32)
        self.assertRaises(StateError, other.open, self.sealed, "models", "api_key", "id-1")

    def test_fresh_nonce(self) -> None:
        """The same secret is never sealed the same way twice."""
        self.assertNotEqual(self.sealed, self.box.seal("sk-canary-\u00fc", "models", "api_key", "id-1"))

    def test_unambiguous_cells(self) -> None:
        """Names that would make two cells look the same are a bug, and refused."""
        self.assertRaises(ValueError, self.box.seal, "s", "a|b", "c", "1")
        self.assertRaises(ValueError, SecretBox, b"short")
