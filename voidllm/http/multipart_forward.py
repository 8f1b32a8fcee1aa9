"""Send a multipart body on while it comes in, with our own framing and another model name."""

from __future__ import annotations

from typing import Callable

from voidllm.http.multipart import End, MultipartLimits, MultipartScanner, PartData, PartEnd, PartStart
from voidllm.http.part_headers import PartHead, bad_part

#: Longest values of the fields that are read here, in bytes.
_MAX_VALUE = {"model": 1 << 10, "stream": 16}


def fresh_boundary(random_bytes: Callable[[int], bytes]) -> bytes:
    """Make a boundary that no content holds but by a chance of 2\\ :sup:`-128`."""
    return b"voidllm-" + random_bytes(16).hex().encode("ascii")


class MultipartForwarder:
    """Rewrites a stream of form data: every part in order except ``model``.

    Parts are written again from what was read of them, behind a boundary of our own. The
    ``model`` part is taken out wherever it is; once :attr:`model` is known,
    :meth:`model_part` with the upstream's name goes first, then everything that
    :meth:`feed` has given, in order.

    :param boundary: the client's boundary.
    :param own_boundary: see :func:`fresh_boundary`.
    :ivar model: value of the ``model`` part, ``None`` until it is complete.
    :ivar stream: whether the client asks for a stream; certain once :attr:`done`.
    :ivar done: the client's body is complete.
    """

    def __init__(self, boundary: bytes, own_boundary: bytes, limits: MultipartLimits | None = None) -> None:
        self._scanner = MultipartScanner(boundary, limits)
        self._own = own_boundary
        self._field = ""
        self._value = b""
        self._seen: set[str] = set()
        self.model: str | None = None
        self.stream = False
        self.done = False

    @property
    def content_type(self) -> bytes:
        """The content type of what is sent on."""
        return b"multipart/form-data; boundary=" + self._own

    def model_part(self, upstream_model: str) -> bytes:
        """Write the ``model`` part, to be sent first."""
        return self._opening(PartHead("model")) + upstream_model.encode("utf-8") + b"\r\n"

    def feed(self, data: bytes) -> bytes:
        """Take some bytes and give what is to be sent on for them.

        :raises Refusal: 400 that names the field; nothing more may be fed.
        """
        out: list[bytes] = []
        for event in self._scanner.feed(data):
            if isinstance(event, PartData):
                if self._field:
                    self._collect(event.data)
                if self._field != "model":
                    out.append(event.data)
            elif isinstance(event, PartStart):
                if self._start(event.head) != "model":
                    out.append(self._opening(event.head))
            elif isinstance(event, PartEnd):
                if self._field != "model":
                    out.append(b"\r\n")
                if self._field:
                    self._end()
            elif isinstance(event, End):
                if self.model is None:
                    raise bad_part("the field model is missing", "model")
                self.done = True
                out.append(b"--" + self._own + b"--\r\n")
        return b"".join(out)

    def close(self) -> None:
        """The client's body has ended.

        :raises Refusal: 400 when it is incomplete.
        """
        self._scanner.close()

    def _opening(self, head: PartHead) -> bytes:
        return b"--" + self._own + b"\r\n" + head.encode()

    def _start(self, head: PartHead) -> str:
        self._field = ""
        meant = head.name.strip().casefold()
        if meant in _MAX_VALUE:
            if meant != head.name:
                raise bad_part(f"a field is almost, but not exactly, named {meant}", meant)
            if meant in self._seen:
                raise bad_part(f"the field {meant} is given twice", meant)
            if head.filename is not None:
                raise bad_part(f"the field {meant} may not be a file", meant)
            self._seen.add(meant)
            self._field = meant
            self._value = b""
        return self._field

    def _collect(self, data: bytes) -> None:
        self._value += data
        if len(self._value) > _MAX_VALUE[self._field]:
            raise bad_part(f"the field {self._field} is too long", self._field)

    def _end(self) -> None:
        field, self._field = self._field, ""
        try:
            value = self._value.decode("utf-8")
        except UnicodeDecodeError:
            raise bad_part(f"the field {field} is not UTF-8", field) from None
        if field == "model":
            if not value:
                raise bad_part("the field model is empty", "model")
            self.model = value
        else:
            lowered = value.strip().lower()
            if lowered not in ("true", "false", "1", "0", ""):
                raise bad_part("the field stream is neither true nor false", "stream")
            self.stream = lowered in ("true", "1")
