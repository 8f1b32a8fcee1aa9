"""How a reply's body ends, and whether its connection can be used again (RFC 9112, 6.3)."""

from __future__ import annotations

import re

from attrs import define

MAX_HEAD_BYTES = 64 << 10
MAX_FIELDS = 200

_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress"})


@define
class ReplyFraming:
    """What the head of a reply says about what follows.

    :ivar until_close: only the end of the connection ends the body.
    :ivar body_expected: whether there is a body at all.
    :ivar reusable: the connection may carry another request.
    :ivar keep_alive_s: how long the server keeps an idle connection, if it said so.
    :ivar fault: why the reply cannot be taken; empty if it can.
    """

    until_close: bool = False
    body_expected: bool = True
    reusable: bool = True
    keep_alive_s: float | None = None
    fault: str = ""
    fault_kind: str = "malformed"


def frame(
    method: bytes, status: int, version: str, headers: list[tuple[bytes, bytes]], keep_alive: bool
) -> ReplyFraming:
    """Read the framing of a final reply.

    :param headers: lower-case names; the parser has refused contradictory ones.
    :param keep_alive: the parser's opinion.
    """
    framing = ReplyFraming(False, True, keep_alive)
    if (version != "1.1" and version != "1.0") or not 200 <= status <= 599:
        framing.fault = "the reply's version or status is not one of HTTP/1"
        return framing
    fields = dict(headers)
    coding = fields.get(b"transfer-encoding")
    if method == b"HEAD" or status == 204 or status == 304:
        framing.body_expected = False
        # ``keep_alive`` is false where the parser would have waited for the end.
        framing.reusable = version == "1.1" and b"close" not in fields.get(b"connection", b"").lower()
    elif coding is not None:
        if coding.lower() != b"chunked":
            framing.fault = "the reply has a transfer coding that was not asked for"
    elif b"content-length" not in fields:
        framing.until_close = True
        framing.reusable = False
    content_coding = fields.get(b"content-encoding")
    if (
        content_coding is not None
        and framing.body_expected
        and not _COMPRESSED.isdisjoint(part.strip() for part in content_coding.lower().split(b","))
    ):
        # Nothing behind the pool could read it: identity was asked for.
        framing.fault = "the reply is compressed although identity was asked for"
    alive = fields.get(b"keep-alive")
    if alive is not None:
        seconds = _TIMEOUT.search(alive)
        if seconds is not None:
            framing.keep_alive_s = float(seconds[1])
    return framing
