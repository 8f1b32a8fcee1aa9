"""Keys, digests and secrets at rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stat
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.usage.memoryfs import MemoryFileSystem, memory_world
from voidllm.core.crypto import (
    API_KEY_INFO,
    KEY_FILE,
    KeyDigester,
    SecretBox,
    check_key,
    derive,
    key_check_value,
    load_or_create_key,
    parse_encryption_key,
)
from voidllm.core.errors import StateError
from voidllm.core.world import RealFileSystem

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
        check_key(KEY, value)
        check_key(KEY, None)
        error = self.assertRaises(StateError, check_key, b"\1" * 32, value)
        self.assertIn("encryption_key", str(error))
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


class KeyFileTests(SynchronousTestCase):
    """The key's file in the state folder."""

    def setUp(self) -> None:
        """Make an empty disk."""
        self.fs = MemoryFileSystem()
        self.world = memory_world(Clock(), self.fs)
        self.path = os.path.join("/state", KEY_FILE)

    def _load(self, store_empty: bool = True, configured: str | None = None) -> bytes:
        return load_or_create_key(self.world, "/state", configured, store_empty)

    def _fails(self, store_empty: bool = True) -> str:
        return str(self.assertRaises(StateError, self._load, store_empty))

    def test_made_once(self) -> None:
        """The first start makes a key, and later ones read it."""
        key = self._load()
        self.assertEqual(len(key), 32)
        self.assertEqual(self._load(), key)
        self.assertEqual(self._load(store_empty=False), key)
        self.assertEqual(self.fs.files[self.path].mode, 0o600)
        self.assertEqual(list(self.fs.files), [self.path])
        self.assertEqual(self.fs.descriptors, {})

    def test_missing(self) -> None:
        """A store with data and no key is an error that says what to do, and no key is made."""
        problem = self._fails(store_empty=False)
        self.assertIn("restore", problem)
        self.assertIn("encryption_key", problem)
        self.assertEqual(self.fs.files, {})

    def test_configured(self) -> None:
        """A configured key is used without any file."""
        self.assertEqual(self._load(False, base64.b64encode(KEY).decode()), KEY)
        self.assertEqual(self.fs.files, {})

    def test_damaged(self) -> None:
        """A file that holds no key is an error that does not repeat what it holds."""
        self._load()
        self.fs.files[self.path].data[:] = b"canary"
        self.assertNotIn("canary", self._fails())
        self.fs.files[self.path].data[:] = b"\xff\xfe"
        self.assertIn("damaged", self._fails())

    def test_crash_half_way(self) -> None:
        """A draft that a crash left behind is no key, and is replaced."""
        self.fs.makedirs("/state")
        self.fs.close(self.fs.open(self.path + ".new", os.O_CREAT))
        key = self._load()
        self.assertEqual(self._load(store_empty=False), key)
        self.assertEqual(list(self.fs.files), [self.path])

    def test_full_disk(self) -> None:
        """Without room for the whole key there is an error and no file that looks like a key."""
        for capacity, short in ((0, False), (10, True)):
            self.fs.capacity, self.fs.short = capacity, short
            self.assertIn("cannot be", self._fails())
            self.assertNotIn(self.path, self.fs.files)

    def test_real_file(self) -> None:
        """On a real disk the file has mode 0600 and holds 32 random bytes in base64."""
        folder = self.mktemp()
        world = memory_world(Clock(), RealFileSystem())  # type: ignore[arg-type]
        key = load_or_create_key(world, folder, None, True)
        file = Path(folder, KEY_FILE)
        self.assertEqual(base64.b64decode(file.read_bytes()), key)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertEqual(load_or_create_key(world, folder, None, False), key)
