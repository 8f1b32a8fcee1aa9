"""``server``: where the gateway listens, and how long and how much it takes."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key, section
from voidllm.config.kinds import Line, Network, Port, ms

MIB = 1024 * 1024

_ReadTimeout = Annotated[Duration, Range(ms("1ms"), ms("24h"), ms("30s"))]
_WriteTimeout = Annotated[Duration, Range(ms("1s"), ms("24h"), ms("120s"))]
_IdleTimeout = Annotated[Duration, Range(ms("1ms"), ms("24h"), ms("60s"))]
_RequestBody = Annotated[int, Range(1, 100 * MIB, 20 * MIB)]
_ResponseBody = Annotated[int, Range(1, 500 * MIB, 50 * MIB)]
_StreamDuration = Annotated[Duration, Range(ms("10s"), ms("1h"), 0)]
_DrainTimeout = Annotated[Duration, Range(ms("5s"), ms("120s"), ms("25s"))]


@frozen(kw_only=True)
class TLS:
    """A certificate to listen with."""

    enabled: bool = key(False, "Listen with TLS.")
    cert: Line = key("", "PEM file: the certificate, then its intermediates.", path=True)
    key: Line = key("", "PEM file: the private key, without a passphrase.", path=True)


@frozen(kw_only=True)
class ProxyServer:
    """The listener that applications talk to."""

    host: Line = key("0.0.0.0", "Address to listen on; `::` for IPv6 and IPv4.")  # noqa: S104
    port: Port = key(8080, "TCP port.")
    tls: TLS = section(TLS)
    read_timeout: _ReadTimeout = key(ms("30s"), "Longest time without a byte of a body that is being read.")
    write_timeout: _WriteTimeout = key(ms("120s"), "Longest time in which a client takes no byte of a reply.")
    idle_timeout: _IdleTimeout = key(ms("60s"), "Longest time between two requests of a connection.")
    max_request_body: _RequestBody = key(20 * MIB, "Largest request body, in bytes.", live=True)
    max_response_body: _ResponseBody = key(50 * MIB, "Largest reply that is no stream, in bytes.", live=True)
    max_stream_duration: _StreamDuration = key(
        ms("0"), "Longest duration of a stream, from the upstream's reply head; 0 is no limit.", live=True
    )
    drain_timeout: _DrainTimeout = key(
        ms("25s"), "How long a stop waits for what is in flight before it ends it.", live=True
    )


@frozen(kw_only=True)
class AdminServer:
    """A listener of its own for the administration API."""

    port: Annotated[int, Range(0, 65535)] = key(0, "0 or the port of the proxy: both share one listener.")
    tls: TLS = section(TLS)


@frozen(kw_only=True)
class Server:
    """Everything about listening."""

    proxy: ProxyServer = section(ProxyServer)
    admin: AdminServer = section(AdminServer)
    front: Annotated[str, OneOf(("fast", "twisted"))] = key(
        "fast", "Which HTTP server: our own, or twisted.web alone."
    )
    trusted_proxies: tuple[Network, ...] = key(
        (), "Addresses or networks (CIDR) whose X-Forwarded-For is believed."
    )
    server_timing: bool = key(
        False, "Whether replies of the proxy say in Server-Timing how long gateway and upstream took."
    )
