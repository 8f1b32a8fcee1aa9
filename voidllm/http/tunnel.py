"""The CONNECT dialogue with a proxy (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from voidllm.http.request_head import authority, proxy_authorization

_MAX_HEAD = 16 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class ProxyRefused(Exception):
    """The proxy did not open a tunnel."""


def proxy_address(proxy_url: str) -> tuple[str, int]:
    """Give host and port of a proxy.

    :raises ValueError: if it is not an ``http://`` URL.
    """
    parts = urlsplit(proxy_url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a proxy must be given as http://host:port")
    return parts.hostname, parts.port or 80


class Tunnel:
    """Asks a proxy for a connection to ``host:port`` and reads its answer."""

    __slots__ = ("_buffer", "request")

    def __init__(self, proxy_url: str, host: str, port: int) -> None:
        target = authority(host, port)
        self.request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (
            target,
            target,
            proxy_authorization(proxy_url),
        )
        self._buffer = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes; ``True`` once the tunnel is open.

        :raises ProxyRefused: for any other answer.
        """
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ProxyRefused
            return False
        status = _STATUS.match(self._buffer)
        # In TLS the client speaks first: bytes behind the head come from somewhere else.
        if status is None or not status[1].startswith(b"2") or len(self._buffer) != end + 4:
            raise ProxyRefused
        return True
