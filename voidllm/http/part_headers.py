"""Headers of multipart parts: read once, strictly, and written again from what was read.

Two programs can disagree about an odd ``Content-Disposition`` (a parameter given twice, a
backslash, a stray quote). So nothing odd is passed on: what is sent upstream is made from
our own reading (RFC 7578; escapes as in the WHATWG's multipart/form-data encoding).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from attrs import frozen

from voidllm.core.errors import Refusal

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD = re.compile(rb"\A(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")
_PARAMETER = re.compile(rb";[ \t]*(" + _TOKEN + rb')=(?:"((?:[^"\\]|\\[^\x00])*)"|(' + _TOKEN + rb"))[ \t]*")
_EXTENDED = re.compile(
    rb"\Autf-8'[A-Za-z0-9-]*'((?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})*)\Z", re.IGNORECASE
)
_BOUNDARY = re.compile(rb"\A[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
_PLAIN_ENCODINGS = (b"7bit", b"8bit", b"binary")


def bad_part(message: str, param: str | None = None) -> Refusal:
    """Make the refusal of a multipart body; ``message`` is a fixed text of ours."""
    return Refusal(400, "invalid_multipart", message, param)


@frozen
class PartHead:
    """What a part says about itself.

    :ivar filename: the file's name, ``None`` for an ordinary field; bytes that are no
        UTF-8 are kept as surrogates.
    :ivar content_type: ``None`` if not given.
    """

    name: str
    filename: str | None = None
    content_type: bytes | None = None

    def encode(self) -> bytes:
        """Write the part's header lines, with the empty line that ends them."""
        head = b'Content-Disposition: form-data; name="' + _escaped(self.name) + b'"'
        if self.filename is not None:
            head += b'; filename="' + _escaped(self.filename) + b'"'
        if self.content_type is not None:
            head += b"\r\nContent-Type: " + self.content_type
        return head + b"\r\n\r\n"


def _escaped(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    # A backslash means an escape to one parser and itself to the next.
    return raw.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b"\\", b"%5C")


def _parameters(text: bytes, what: str) -> dict[bytes, bytes]:
    """Read ``;name=value`` pairs; a pair twice, or anything else, is refused."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise bad_part(f"{what} is malformed")
        name = match.group(1).lower()
        if name in found:
            raise bad_part(f"{what} holds a parameter twice")
        quoted = match.group(2)
        found[name] = re.sub(rb'\\(["\\])', rb"\1", quoted) if quoted is not None else match.group(3)
        position = match.end()
    return found


def parse_boundary(content_type: bytes | None) -> bytes:
    """Take the boundary out of a ``multipart/form-data`` content type.

    :raises Refusal: 400 naming ``content-type``.
    """
    if content_type is None or any((byte < 32 and byte != 9) or byte == 127 for byte in content_type):
        raise Refusal(400, "invalid_multipart", "multipart/form-data is expected", "content-type")
    kind, semicolon, rest = content_type.partition(b";")
    if kind.strip(b" \t").lower() != b"multipart/form-data":
        raise Refusal(400, "invalid_multipart", "multipart/form-data is expected", "content-type")
    try:
        boundary = _parameters(semicolon + rest, "the content type").get(b"boundary")
    except Refusal as refusal:
        raise Refusal(400, refusal.code, refusal.message, "content-type") from None
    if boundary is None or _BOUNDARY.match(boundary) is None:
        raise Refusal(400, "invalid_multipart", "the boundary is missing or malformed", "content-type")
    return boundary


def parse_part_head(raw: bytes) -> PartHead:
    """Read the header lines of one part (without the empty line).

    :raises Refusal: 400 when they are malformed or could be read in two ways.
    """
    fields: dict[bytes, bytes] = {}
    for line in raw.split(b"\r\n") if raw else ():
        match = _FIELD.match(line)
        if match is None:
            raise bad_part("a header of a part is malformed")
        name = match.group(1).lower()
        if name in fields:
            raise bad_part("a part holds a header twice")
        fields[name] = match.group(2)
    encoding = fields.get(b"content-transfer-encoding")
    if encoding is not None and encoding.lower() not in _PLAIN_ENCODINGS:
        raise bad_part("a part may not have a content-transfer-encoding")
    disposition = fields.get(b"content-disposition")
    if disposition is None:
        raise bad_part("a part has no content-disposition")
    kind, semicolon, rest = disposition.partition(b";")
    if kind.strip(b" \t").lower() != b"form-data":
        raise bad_part("a part's content-disposition is not form-data")
    parameters = _parameters(semicolon + rest, "a part's content-disposition")
    if b"name" not in parameters or b"name*" in parameters:
        raise bad_part("a part has no name")
    try:
        name_text = parameters[b"name"].decode("utf-8")
    except UnicodeDecodeError:
        raise bad_part("the name of a part is not UTF-8") from None
    return PartHead(name_text, _filename(parameters), fields.get(b"content-type"))


def _filename(parameters: dict[bytes, bytes]) -> str | None:
    extended = parameters.get(b"filename*")
    if extended is None:
        plain = parameters.get(b"filename")
        return None if plain is None else plain.decode("utf-8", "surrogateescape")
    # Not allowed in form data, but sent by some clients beside or in place of ``filename``.
    match = _EXTENDED.match(extended)
    if match is None:
        raise bad_part("the file name of a part is malformed")
    decoded = unquote_to_bytes(match.group(1))
    if any(byte < 32 or byte == 127 for byte in decoded):
        raise bad_part("the file name of a part is malformed")
    return decoded.decode("utf-8", "surrogateescape")
