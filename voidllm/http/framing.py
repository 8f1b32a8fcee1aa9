"""Where a request begins and ends on the wire, and what is refused before anybody reads it.

Follows RFC 9112, on the strict side: whatever two parsers could understand differently is
refused. :mod:`httptools` reads the head; this module decides about what it lets through.
"""

from __future__ import annotations

import httptools
from attrs import frozen

from voidllm.core.errors import VoidLLMError
from voidllm.http.message import HeadMemo

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_VERSIONS = {b"HTTP/1.1": False, b"HTTP/1.0": True}
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"})
_WATCHED = _SINGLE | {b"connection", b"content-encoding"}
_REQUEST_ID = b"x-request-id"
#: Most digits of a Content-Length; enough for a petabyte, far from any integer trouble.
_MAX_LENGTH_DIGITS = 15


class BadMessage(VoidLLMError):
    """A message that is refused for its framing; the connection cannot be used further.

    :ivar status: 400, 405, 415, 417 or 431.
    :ivar code: machine-readable error code.
    :ivar message: fixed text of ours, never bytes from the wire.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def malformed(message: str) -> BadMessage:
    """Make the 400 for a message whose meaning is not certain."""
    return BadMessage(400, "malformed_request", message)


def head_too_large() -> BadMessage:
    """Make the 431 for a request head over a limit."""
    return BadMessage(431, "request_header_fields_too_large", "the request head is too large")


@frozen
class RequestLine:
    """The three parts of a request line, checked.

    :ivar path: of the target up to ``?``; an absolute-form target has lost scheme and authority.
    :ivar old: whether the version is HTTP/1.0.
    """

    method: bytes
    path: bytes
    query: bytes
    old: bool


def parse_request_line(line: bytes) -> RequestLine:
    """Check one request line (without its line end) and take it apart.

    :raises BadMessage: for HTTP/0.9, other versions, CONNECT, TRACE and unknown methods.
    """
    parts = line.split(b" ")
    if len(parts) != 3:
        raise malformed("the request line is malformed")
    method, target, version = parts
    old = _VERSIONS.get(version)
    if old is None:
        raise malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method not in _METHODS:
        raise BadMessage(405, "method_not_allowed", "this method is not served here")
    if target[:1] != b"/":
        target = _origin_form(target, method)
    path, _, query = target.partition(b"?")
    return RequestLine(method, path, query, old)


def _origin_form(target: bytes, method: bytes) -> bytes:
    """Reduce an absolute-form target (RFC 9112 section 3.2.2) to path and query."""
    if target == b"*" and method == b"OPTIONS":
        return target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise malformed("the request target is malformed")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority = rest[:cut]
    if not authority or b"@" in authority:
        raise malformed("the request target is malformed")
    rest = rest[cut:]
    return rest if rest.startswith(b"/") else b"/" + rest


class Head:
    """A request head that passed every check.

    :ivar headers: (lower-case name, value) pairs in order, values without outer white space.
    :ivar content_length: declared length, ``None`` when chunked, 0 when there is no body.
    :ivar keep_alive: whether the client lets the connection live on.
    :ivar asks: whether the field ``Expect`` is there.
    :ivar expects: whether the client waits for ``100 Continue``.
    :ivar request_id: the first ``X-Request-Id``, unchecked, or ``None``.
    :ivar memo: kept as long as the head is; see :class:`~voidllm.http.message.HeadMemo`.
    :ivar complete: whether the parser agrees that the head ends where we cut it.
    """

    __slots__ = (
        "asks",
        "complete",
        "content_length",
        "expects",
        "headers",
        "keep_alive",
        "line",
        "memo",
        "request_id",
    )

    def __init__(self, line: RequestLine) -> None:
        self.line = line
        self.headers: list[tuple[bytes, bytes]] = []
        self.content_length: int | None = 0
        self.keep_alive = True
        self.asks = False
        self.expects = False
        self.request_id: bytes | None = None
        self.memo = HeadMemo()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field from the parser."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The parser has seen the empty line."""
        self.complete = True


def parse_head(data: bytes, line: RequestLine, max_fields: int) -> Head:
    """Parse and check a whole request head.

    :param data: from the request line up to and including the empty line.
    :raises BadMessage: when it is refused.
    """
    head = Head(line)
    # A parser per head: one that has seen an Upgrade or an error may keep a state.
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # Upgrade is ignored; the framing below does not depend on the parser's.
    except httptools.HttpParserError:
        raise malformed("the request head is malformed") from None
    if not head.complete:
        raise malformed("the request head is malformed")
    if len(head.headers) > max_fields:
        raise head_too_large()
    judge(head)
    return head


def judge(head: Head) -> None:
    """Decide what the fields mean for framing, and fill in ``head``.

    :raises BadMessage: when they are ambiguous or ask for what is not served.
    """
    found = dict(head.headers)
    if len(found) != len(head.headers):
        found = _joined(head.headers)
    head.request_id = found.get(_REQUEST_ID)
    old = head.line.old
    host = found.get(b"host")
    if host is None:
        if not old:
            raise malformed("the field host is missing")
    elif b"," in host or b" " in host:
        raise malformed("the field host is malformed")
    length = found.get(b"content-length")
    coding = found.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or old or coding.lower() != b"chunked":
            raise malformed("the field transfer-encoding is not acceptable")
        head.content_length = None
    elif length is not None:
        if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
            raise malformed("the field content-length is malformed")
        head.content_length = int(length)
    connection = found.get(b"connection")
    if connection is None:
        head.keep_alive = not old
    else:
        options = [option.strip(b" \t") for option in connection.lower().split(b",")]
        head.keep_alive = b"close" not in options and (not old or b"keep-alive" in options)
    expect = found.get(b"expect")
    if expect is not None and not old:
        if expect.lower() != b"100-continue":
            raise BadMessage(417, "expectation_failed", "the field expect is not understood")
        head.asks = True
        head.expects = head.content_length != 0
    encoding = found.get(b"content-encoding")
    if encoding is not None and encoding.lower() not in (b"", b"identity"):
        raise BadMessage(
            415, "unsupported_content_encoding", "the request body may not be compressed (content-encoding)"
        )


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Give the fields that :func:`judge` looks at of a head in which some occur more than once."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WATCHED:
            if name in found:
                if name in _SINGLE:
                    raise malformed(f"the field {name.decode('ascii')} may occur only once")
                value = found[name] + b"," + value
            found[name] = value
        elif name == _REQUEST_ID:
            found.setdefault(name, value)
    return found
