"""The file of encryption keys."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.usage.memoryfs import MemoryFileSystem, memory_world
from voidllm.core.errors import StateError
from voidllm.core.keyfile import KEY_FILE, configured_keys, create_key, read_keys, write_keys
from voidllm.core.keyring import MAX_KEYS
from voidllm.core.world import RealFileSystem

KEYS = (bytes(range(32)), bytes(32))


class KeyFileTests(SynchronousTestCase):
    """The keys' file in the state folder."""

    def setUp(self) -> None:
        """Make an empty disk."""
        self.fs = MemoryFileSystem()
        self.world = memory_world(Clock(), self.fs)
        self.path = os.path.join("/state", KEY_FILE)

    def _fails(self) -> str:
        return str(self.assertRaises(StateError, read_keys, self.world, "/state"))

    def test_made(self) -> None:
        """A new key is read again, and nothing else is left on the disk."""
        keys = create_key(self.world, "/state")
        self.assertEqual([len(key) for key in keys], [32])
        self.assertEqual(read_keys(self.world, "/state"), keys)
        self.assertEqual(self.fs.files[self.path].mode, 0o600)
        self.assertEqual(list(self.fs.files), [self.path])
        self.assertEqual(self.fs.descriptors, {})

    def test_missing(self) -> None:
        """Without a file there are no keys."""
        self.assertEqual(read_keys(self.world, "/state"), ())

    def test_several(self) -> None:
        """A file may hold several keys, one a line, in their order."""
        self.fs.makedirs("/state")
        write_keys(self.world, "/state", KEYS)
        self.assertEqual(read_keys(self.world, "/state"), KEYS)

    def test_configured(self) -> None:
        """The configured key comes first; old ones mean nothing without it."""
        texts = [base64.b64encode(key).decode() for key in KEYS]
        self.assertEqual(configured_keys(texts[0], texts[1:]), KEYS)
        self.assertEqual(configured_keys("", texts), ())

    def test_damaged(self) -> None:
        """A file that holds something else, or too much, is an error that does not repeat what it holds."""
        create_key(self.world, "/state")
        for data in (b"canary", b"\xff\xfe", b"", base64.b64encode(KEYS[0]) + b"\ncanary\n", b"A" * 5000):
            self.fs.files[self.path].data[:] = data
            problem = self._fails()
            self.assertNotIn("canary", problem)
            self.assertIn("damaged", problem)
        self.fs.files[self.path].data[:] = (base64.b64encode(KEYS[0]) + b"\n") * (MAX_KEYS + 1)
        self.assertIn("damaged", self._fails())

    def test_crash_half_way(self) -> None:
        """A draft that a crash left behind is no key, and is replaced."""
        self.fs.makedirs("/state")
        self.fs.close(self.fs.open(self.path + ".new", os.O_CREAT))
        self.assertEqual(read_keys(self.world, "/state"), ())
        keys = create_key(self.world, "/state")
        self.assertEqual(read_keys(self.world, "/state"), keys)
        self.assertEqual(list(self.fs.files), [self.path])

    def test_full_disk(self) -> None:
        """Without room for the whole key there is an error and no file that looks like a key."""
        for capacity, short in ((0, False), (10, True)):
            self.fs.capacity, self.fs.short = capacity, short
            problem = str(self.assertRaises(StateError, create_key, self.world, "/state"))
            self.assertIn("cannot be", problem)
            self.assertNotIn(self.path, self.fs.files)

    def test_real_file(self) -> None:
        """On a real disk the file has mode 0600 and holds 32 random bytes in base64."""
        folder = self.mktemp()
        world = memory_world(Clock(), RealFileSystem())  # type: ignore[arg-type]
        keys = create_key(world, folder)
        file = Path(folder, KEY_FILE)
        self.assertEqual(base64.b64decode(file.read_bytes()), keys[0])
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertEqual(read_keys(world, folder), keys)
