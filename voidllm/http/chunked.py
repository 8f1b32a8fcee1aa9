"""The chunked transfer coding of requests (RFC 9112 section 7.1), read strictly."""

from __future__ import annotations

import re

from voidllm.http.framing import BadMessage, malformed

# Extensions have no meaning for us; their alphabet keeps line ends and controls out.
_SIZE_LINE = re.compile(rb"\A([0-9a-fA-F]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")
_TRAILER = re.compile(rb"\A([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*\Z")
#: Fields that must not come late (RFC 9110 section 6.5.1).
_NO_TRAILER = frozenset({b"content-length", b"transfer-encoding", b"host", b"authorization", b"trailer"})
_MAX_SIZE_LINE = 256
_MAX_EXTENSIONS = 16 << 10
_MAX_TRAILERS = 8 << 10

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """Takes wire bytes, gives body bytes, and knows exactly where the message ends.

    Trailers are checked and dropped.

    :ivar done: the message is complete.
    :ivar rest: bytes after the end of the message, once ``done``.
    """

    __slots__ = ("_buffer", "_extensions", "_left", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._state = _SIZE
        self._buffer = b""
        self._left = 0
        self._extensions = 0
        self._trailers = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Decode ``data``; gives the body bytes in it, joined.

        :raises BadMessage: when the coding is broken or a limit is exceeded.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while True:
            if self._state == _DATA:
                piece = data[position : position + self._left]
                if piece:
                    pieces.append(piece)
                    position += len(piece)
                    self._left -= len(piece)
                if self._left:
                    break
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if size - position < 2:
                    if position < size and data[position] != 0x0D:
                        raise malformed("the chunked body is malformed")
                    break
                if data[position : position + 2] != b"\r\n":
                    raise malformed("the chunked body is malformed")
                position += 2
                self._state = _SIZE
            else:
                end = data.find(b"\r\n", position)
                if end < 0:
                    self._check_partial(data[position:])
                    break
                line = data[position:end]
                position = end + 2
                if self._state == _SIZE:
                    self._size_line(line)
                elif self._trailer_line(line):
                    self.done = True
                    self._state = _DONE
                    self.rest = data[position:]
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._buffer = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_partial(self, line: bytes) -> None:
        limit = _MAX_SIZE_LINE if self._state == _SIZE else _MAX_TRAILERS - self._trailers
        if len(line) > limit:
            raise self._too_much()
        # A lone LF, or a CR that is not the last byte so far, never becomes a line end.
        if b"\n" in line or b"\r" in line[:-1]:
            raise malformed("the chunked body is malformed")

    def _size_line(self, line: bytes) -> None:
        if len(line) > _MAX_SIZE_LINE:
            raise self._too_much()
        match = _SIZE_LINE.match(line)
        if match is None:
            raise malformed("the chunked body is malformed")
        digits = match.group(1)
        self._extensions += len(line) - len(digits)
        if self._extensions > _MAX_EXTENSIONS:
            raise self._too_much()
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILERS

    def _trailer_line(self, line: bytes) -> bool:
        """Check one trailer line; True for the empty line that ends the message."""
        if not line:
            return True
        self._trailers += len(line) + 2
        if self._trailers > _MAX_TRAILERS:
            raise self._too_much()
        match = _TRAILER.match(line)
        if match is None or match.group(1).lower() in _NO_TRAILER:
            raise malformed("the trailer section is malformed")
        return False

    def _too_much(self) -> BadMessage:
        if self._state == _TRAILERS:
            return BadMessage(431, "request_header_fields_too_large", "the trailer section is too large")
        return malformed("the chunk extensions are too large")
