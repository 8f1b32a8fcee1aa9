"""Several encryption keys at once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.errors import StateError
from voidllm.core.keyring import ID_LENGTH, Keyring, UnknownKey, key_id, key_of

OLD, NEW = bytes(range(32)), b"\1" * 32
CELL = ("models", "api_key", "id-1")


class KeyringTests(SynchronousTestCase):
    """What is sealed says which key opens it."""

    def test_round_trip(self) -> None:
        """A sealed secret begins with the id of its key, and opens in its own cell only."""
        ring = Keyring([OLD])
        sealed = ring.seal("sk-canary-\u00fc", *CELL)
        self.assertEqual(sealed[: ID_LENGTH + 1], key_id(OLD) + ":")
        self.assertEqual(key_of(sealed), ring.current)
        self.assertEqual(ring.open(sealed, *CELL), "sk-canary-\u00fc")
        error = self.assertRaises(StateError, ring.open, sealed, "models", "api_key", "id-2")
        self.assertNotIn("canary", str(error))

    def test_older_keys_open(self) -> None:
        """One key seals, all open; sealing anew changes the key and not the secret."""
        old = Keyring([OLD]).seal("s", *CELL)
        ring = Keyring([OLD, NEW])
        self.assertEqual(ring.ids, (key_id(OLD), key_id(NEW)))
        ring.use(key_id(NEW))
        self.assertEqual(ring.keys, (NEW, OLD))
        self.assertEqual(ring.open(old, *CELL), "s")
        anew = ring.reseal(old, *CELL)
        self.assertEqual(key_of(anew), key_id(NEW))
        self.assertEqual(Keyring([NEW]).open(anew, *CELL), "s")

    def test_unknown(self) -> None:
        """A key that is not known is named by its id, and the secret stays unread."""
        sealed = Keyring([OLD]).seal("canary", *CELL)
        error = self.assertRaises(UnknownKey, Keyring([NEW]).open, sealed, *CELL)
        self.assertEqual(error.key_id, key_id(OLD))
        self.assertIn(key_id(OLD), str(error))
        self.assertNotIn("canary", str(error))

    def test_forgotten(self) -> None:
        """A forgotten key is known no longer; the one that seals cannot be forgotten."""
        ring = Keyring([OLD, NEW])
        ring.forget(key_id(OLD))
        ring.forget(key_id(NEW))
        self.assertEqual(ring.ids, (key_id(OLD),))
        self.assertRaises(KeyError, ring.use, key_id(NEW))

    def test_damaged(self) -> None:
        """What is no sealed secret is an error that does not repeat it."""
        ring = Keyring([OLD])
        for text in ("canary", "", ":", "canary-12345", f"{key_id(OLD)}:canary"):
            error = self.assertRaises(StateError, ring.open, text, *CELL)
            self.assertNotIn("canary", str(error))

    def test_without_keys(self) -> None:
        """Without any key nothing is sealed."""
        self.assertEqual((Keyring().current, Keyring().ids), ("", ()))
        self.assertRaises(StateError, Keyring().seal, "s", *CELL)

    def test_shows_nothing(self) -> None:
        """Keys are in no representation."""
        self.assertNotIn(NEW.hex(), repr(Keyring([NEW])))
        self.assertNotIn("\\x01", repr(Keyring([NEW])))
