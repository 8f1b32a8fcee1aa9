"""Write the head of an upstream request, and refuse what would smuggle a second one."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote_to_bytes, urlsplit

from twisted.web.iweb import UNKNOWN_LENGTH

from voidllm.http.upstream import Origin, UpstreamRequest

#: Framing and connection fields are the pool's business; a caller's are dropped (RFC 9110, 7.6.1).
_OURS = frozenset(
    {
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_METHODS = frozenset({b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT"})
_BODY_EXPECTED = frozenset({b"PATCH", b"POST", b"PUT"})
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_AUTHORITY = re.compile(rb"[\x21-\x7e]+\Z")
_TARGET = re.compile(rb"/[\x21-\x7e]*\Z")
_REMEMBERED = 512
_DEFAULT_PORTS = {"http": 80, "https": 443}


def bare_host(host: str) -> str:
    """Give a host as name resolution wants it: an IPv6 address without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def authority(host: str, port: int, scheme: str | None = None) -> bytes:
    """Give ``host:port`` in ASCII; the scheme's default port is left out if a scheme is given."""
    host = bare_host(host)
    encoded = b"[%b]" % host.encode("ascii") if ":" in host else ascii_host(host).encode("ascii")
    if scheme is not None and _DEFAULT_PORTS.get(scheme) == port:
        return encoded
    return b"%b:%d" % (encoded, port)


def ascii_host(host: str) -> str:
    """Give an internationalised name in its ASCII form.

    :raises ValueError: if there is none.
    """
    return host if host.isascii() else host.encode("idna").decode("ascii")


def proxy_authorization(proxy_url: str) -> bytes:
    """Give a ``proxy-authorization`` line for a proxy's user and password, or nothing."""
    parts = urlsplit(proxy_url)
    if parts.username is None:
        return b""
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return b"proxy-authorization: Basic %b\r\n" % base64.b64encode(pair)


class HeadWriter:
    """Writes the heads of requests to one origin.

    Plain HTTP through a proxy uses absolute-form targets (RFC 9112, 3.2.2): many proxies
    allow CONNECT to port 443 only.
    """

    __slots__ = ("_fields", "_fixed", "_prefix")

    def __init__(self, origin: Origin) -> None:
        self._fields: dict[bytes, bool] = {}
        host = authority(origin.host, origin.port, origin.scheme)
        if _AUTHORITY.match(host) is None:
            raise ValueError("the origin has a character that cannot be sent")
        self._fixed = (
            b" HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\nconnection: keep-alive\r\n" % host
        )
        self._prefix = b""
        if origin.proxy_url is not None and origin.scheme == "http":
            self._prefix = b"http://" + host
            self._fixed += proxy_authorization(origin.proxy_url)

    def write(self, request: UpstreamRequest) -> bytes:
        """Encode a request's head, blank line included.

        :raises ValueError: for a method, target, field name or field value that cannot be
            sent as it is; the message never holds it.
        """
        method, fixed, body = request.method, request.fixed, request.body
        if fixed is None:
            start = self._start(method, request.target, ())
        # Kept by the owner of what it holds, not here: it must not outlive it.
        elif fixed.start_for == (self, method, request.target):
            start = fixed.start
        else:
            start = fixed.start = self._start(method, request.target, fixed.pairs)
            fixed.start_for = self, method, request.target
        if isinstance(body, bytes):
            if body or method in _BODY_EXPECTED:
                framing = b"content-length: %d\r\n\r\n" % len(body)
            else:
                framing = b"\r\n"
        elif body.length is UNKNOWN_LENGTH:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        else:
            framing = b"content-length: %d\r\n\r\n" % body.length
        return start + self._lines(request.headers) + framing

    def _start(self, method: bytes, target: bytes, fixed: tuple[tuple[bytes, bytes], ...]) -> bytes:
        if method not in _METHODS:
            raise ValueError("this request method cannot be sent")
        if _TARGET.match(target) is None:
            raise ValueError("the request target has a character that cannot be sent")
        return b"%b %b%b%b%b" % (method, self._prefix, target, self._fixed, self._lines(fixed))

    def _lines(self, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
        known = self._fields
        block = b""
        for name, value in headers:
            send = known.get(name)
            if send is None:
                send = self._judge(name)
            if send:
                if b"\n" in value or b"\r" in value or b"\0" in value:
                    raise ValueError("a request header value has a line break or a NUL")
                block += b"%b: %b\r\n" % (name, value)
        return block

    def _judge(self, name: bytes) -> bool:
        if _TOKEN.match(name) is None:
            raise ValueError("a request header name has a character that cannot be sent")
        if len(self._fields) >= _REMEMBERED:
            self._fields.clear()
        send = self._fields[name] = name.lower() not in _OURS
        return send
