"""The encrypted spool: what goes in comes out, and nothing readable lies on disk."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.world import RealFileSystem
from voidllm.http.spool import EncryptedSpool, SpoolFull

CANARY = b"CANARY-spool-"


class Spool(SynchronousTestCase):
    """EncryptedSpool on the real file system."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)

    @settings(max_examples=60)
    @given(st.lists(st.binary(max_size=3000), max_size=12), st.integers(0, 4000))
    def test_round_trip(self, pieces: list[bytes], in_memory: int) -> None:
        """Bytes come back in order, from memory and from disk."""
        with EncryptedSpool(self.folder, os.urandom, 1 << 20, in_memory) as spool:
            for piece in pieces:
                spool.write(piece)
            out = b""
            while data := spool.read():
                out += data
            assert out == b"".join(pieces)

    def test_nothing_readable(self) -> None:
        """The file has no name, holds no plain text, and is gone after close."""
        spool = EncryptedSpool(self.folder, os.urandom, 1 << 22, in_memory=1000)
        before = len(os.listdir("/proc/self/fd"))
        spool.write(CANARY * 100_000)
        assert spool.on_disk
        assert os.listdir(self.folder) == []
        stored = os.pread(spool._fd, 1 << 22, 0)
        assert len(stored) == len(CANARY) * 100_000
        assert CANARY not in stored
        spool.close()
        spool.close()
        assert len(os.listdir("/proc/self/fd")) == before
        assert spool.read() == b""

    def test_limit(self) -> None:
        """More than the limit is refused and everything is forgotten."""
        spool = EncryptedSpool(self.folder, os.urandom, 100, in_memory=10)
        spool.write(b"x" * 60)
        self.assertRaises(SpoolFull, spool.write, b"x" * 60)
        assert not spool.on_disk

    def test_full_disk(self) -> None:
        """A disk without room is the same refusal, and the descriptor is closed."""

        class Full(RealFileSystem):
            def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
                raise OSError(28, "no space")

        before = len(os.listdir("/proc/self/fd"))
        spool = EncryptedSpool(self.folder, os.urandom, 1000, in_memory=10, fs=Full())
        self.assertRaises(SpoolFull, spool.write, b"x" * 60)
        assert len(os.listdir("/proc/self/fd")) == before

    def test_without_tmpfile(self) -> None:
        """Where nameless files do not exist, the name is gone before a byte is written."""

        class Plain(RealFileSystem):
            def open(self, path: str, flags: int, mode: int = 0o600) -> int:  # type: ignore[override]
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    raise OSError(95, "not supported")
                return os.open(path, flags, mode)

        with EncryptedSpool(self.folder, os.urandom, 1000, in_memory=10, fs=Plain()) as spool:
            spool.write(b"x" * 60)
            assert os.listdir(self.folder) == []
            assert spool.read() == b"x" * 60
