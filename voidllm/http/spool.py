"""Where an upload waits while it is not known yet which upstream it is for.

The one exception to "no content at rest": beyond a small part in memory the bytes go,
encrypted with a key that exists in this object only, into a file that has no name. When
the process dies, kernel and key vanish with it and nothing readable remains.
"""

from __future__ import annotations

import errno
import os
from typing import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from voidllm.core.errors import VoidLLMError
from voidllm.core.world import FileSystem, RealFileSystem

#: Bytes kept in memory before the file is made.
IN_MEMORY = 1 << 20
#: Ciphertext is written, and plain text given back, in pieces of at most this size.
_PIECE = 64 << 10
_NO_TMPFILE = (errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)


class SpoolFull(VoidLLMError):
    """More was written than the spool may hold, or the disk has no room."""


class EncryptedSpool:
    """Bytes that are written once and read once, in order.

    :param directory: where the nameless file lives; a private folder of the gateway.
    :param random_bytes: source of the key, ``os.urandom``-like.
    :param limit: most bytes it takes.
    :param in_memory: bytes kept in memory before a file is used.
    :param fs: the file system.
    :ivar size: bytes written so far.
    """

    def __init__(
        self,
        directory: str,
        random_bytes: Callable[[int], bytes],
        limit: int,
        in_memory: int = IN_MEMORY,
        fs: FileSystem | None = None,
    ) -> None:
        self._fs = fs if fs is not None else RealFileSystem()
        self._directory = directory
        self._random_bytes = random_bytes
        self._limit = limit
        self._in_memory = in_memory
        self._parts: list[bytes] = []
        self._held = 0
        self._written = 0
        self._read_at = 0
        self._fd = -1
        self._encryptor: CipherContext | None = None
        self._decryptor: CipherContext | None = None
        self._key = b""
        self.size = 0

    @property
    def on_disk(self) -> bool:
        """Whether a file is in use."""
        return self._fd >= 0

    def write(self, data: bytes) -> None:
        """Add bytes.

        :raises SpoolFull: when the limit is exceeded or the disk takes no more; the spool is
            closed then.
        """
        self.size += len(data)
        if self.size > self._limit:
            self.close()
            raise SpoolFull
        self._parts.append(data)
        self._held += len(data)
        if self._held > (self._in_memory if self._fd < 0 else _PIECE):
            try:
                self._flush()
            except OSError:
                self.close()
                raise SpoolFull from None

    def read(self) -> bytes:
        """Give the next bytes, ``b""`` at the end; nothing may be written any more."""
        if self._read_at < self._written:
            decryptor = self._decryptor
            if decryptor is None:
                decryptor = self._decryptor = self._cipher().decryptor()
            data = self._fs.pread(self._fd, min(_PIECE, self._written - self._read_at), self._read_at)
            if not data:
                self.close()
                raise SpoolFull
            self._read_at += len(data)
            return decryptor.update(data)
        parts, self._parts = self._parts, []
        self._held = 0
        return b"".join(parts)

    def close(self) -> None:
        """Forget everything, key included; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._fs.close(fd)
        self._parts = []
        self._held = self._written = self._read_at = 0
        self._encryptor = self._decryptor = None
        self._key = b""

    def __enter__(self) -> EncryptedSpool:
        """Use as a context: closed at its end, whatever happens."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _flush(self) -> None:
        if self._fd < 0:
            self._fd = self._open()
            self._key = self._random_bytes(32)
            self._encryptor = self._cipher().encryptor()
        assert self._encryptor is not None
        parts, self._parts = self._parts, []
        self._held = 0
        sealed = memoryview(self._encryptor.update(b"".join(parts)))
        while sealed:
            count = self._fs.write(self._fd, bytes(sealed))
            self._written += count
            sealed = sealed[count:]

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return self._fs.open(self._directory, flags | os.O_TMPFILE | os.O_EXCL, 0o600)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        # A file system without O_TMPFILE (NFS, some overlays): it has a name for an instant.
        path = os.path.join(self._directory, ".spool-" + self._random_bytes(12).hex())
        fd = self._fs.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        self._fs.unlink(path)
        return fd

    def _cipher(self) -> Cipher[modes.CTR]:
        # The key is used for this one stream, so a fixed counter start is no reuse.
        return Cipher(algorithms.AES(self._key), modes.CTR(bytes(16)))
