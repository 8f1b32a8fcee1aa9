"""Messages on a stream of bytes: four bytes of length, big-endian, then the message."""

from __future__ import annotations

from struct import Struct
from typing import Iterator

from voidllm.core.errors import VoidLLMError

_LENGTH = Struct(">I")


class FrameTooLong(VoidLLMError):
    """The other side announces more than was agreed; nothing it says can be trusted any more."""


def frame(message: bytes) -> bytes:
    """Put the length before ``message``."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """Cuts what arrives back into messages.

    Pieces are joined once, when a message is complete, so that a snapshot of many megabytes
    costs one copy and not one for every piece.

    :param most: longest message that is accepted, in bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = _LENGTH.size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take some bytes, and give every message that they complete.

        :raises FrameTooLong: if a length is beyond what was agreed.
        """
        self._pieces.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return
        buffer = b"".join(self._pieces)
        at = 0
        while True:
            begin = at + _LENGTH.size
            if len(buffer) < begin:
                wanted = _LENGTH.size
                break
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > self._most:
                raise FrameTooLong(f"a message of {length} bytes, where {self._most} are the most")
            if len(buffer) < begin + length:
                wanted = _LENGTH.size + length
                break
            yield buffer[begin : begin + length]
            at = begin + length
        self._pieces = [buffer[at:]]
        self._size = len(buffer) - at
        self._wanted = wanted
