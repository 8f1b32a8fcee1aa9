"""``upstream`` and ``stream``: how model servers are talked to."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key, section
from voidllm.config.kinds import Line, Name, ms

_Patience = Annotated[Duration, Range(ms("100ms"), ms("24h"))]


@frozen(kw_only=True)
class UpstreamProxy:
    """A CONNECT proxy between the gateway and its upstreams."""

    url: Line = key(
        "",
        "`http://[user:password@]host:port`; else HTTPS_PROXY of the environment, for https upstreams.",
        show="url",
        live=True,
    )
    no_proxy: tuple[Name, ...] = key(
        (), "Hosts, `.domains`, addresses or networks reached directly; beside NO_PROXY.", live=True
    )


@frozen(kw_only=True)
class Upstream:
    """Connections to model servers."""

    engine: Annotated[str, OneOf(("auto", "treq", "direct"))] = key("auto", "Which client makes the calls.")
    proxy: UpstreamProxy = section(UpstreamProxy)
    max_connections_per_origin: Annotated[int, Range(1, 65535)] = key(
        8192, "Most connections to one server; further calls wait."
    )
    max_queue: Annotated[int, Range(0, 1_000_000)] = key(1024, "Most calls that wait for one server.")
    connect_timeout: _Patience = key(ms("10s"), "Until connected, TLS included.", live=True)
    head_timeout: _Patience = key(ms("600s"), "From the request to the reply's head.", live=True)
    ca_file: Line = key("", "PEM file of authorities to trust instead of the system's.", path=True, live=True)


@frozen(kw_only=True)
class Stream:
    """Streaming replies."""

    commit_after: Annotated[Duration, Range(ms("0"), ms("10m"))] = key(
        ms("15s"),
        "How long a reply's head waits for the first event; until then faults have a status.",
        live=True,
    )
    keepalive: Annotated[Duration, Range(ms("1s"), ms("10m"))] = key(
        ms("15s"), "Silence after which the client gets a comment.", live=True
    )
    idle_timeout: _Patience = key(ms("120s"), "Longest silence of an upstream within a reply.", live=True)
    first_token_timeout: Annotated[Duration, Range(ms("100ms"), ms("24h"), 0)] = key(
        ms("0"), "From the call to the first token; 0 is no limit.", live=True
    )
