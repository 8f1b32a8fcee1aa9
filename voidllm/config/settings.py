"""``settings``: everything that is about the installation rather than its sockets."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import Range, Text, key, section
from voidllm.config.identity import PII, SSO, Bootstrap, Sessions
from voidllm.config.kinds import Line, ms
from voidllm.config.mcp import MCP

_Keep = Annotated[Duration, Range(0, ms("3660d"))]


@frozen(kw_only=True)
class UsageBuffer:
    """How usage rows get from the journal into the database."""

    buffer_size: Annotated[int, Range(1, 1_000_000)] = key(1000, "No effect: rows wait on disk.")
    flush_interval: Annotated[Duration, Range(ms("50ms"), ms("5m"), ms("5s"))] = key(
        ms("5s"), "How often the journal is written to the database."
    )
    drop_on_full: bool = key(True, "No effect: rows are never dropped.")
    tag_headers: tuple[Line, ...] = key(
        (),
        "Request headers, in lower case, whose values usage is reported by. A value has up to 64 of "
        "`a-z 0-9 _ . -`, anything else is not kept.",
        live=True,
    )


@frozen(kw_only=True)
class Audit:
    """The record of administrative changes and refusals."""

    enabled: bool = key(True, "Keep that record, in the same transaction as each change.")
    buffer_size: Annotated[int, Range(1, 1_000_000)] = key(500, "No effect: entries never wait.")
    flush_interval: Annotated[Duration, Range(ms("50ms"), ms("5m"), ms("5s"))] = key(
        ms("5s"), "No effect: entries never wait."
    )


@frozen(kw_only=True)
class OTel:
    """Traces."""

    enabled: bool = key(False, "Send traces.")
    endpoint: Line = key("localhost:4317", "Collector, gRPC.", show="url")
    insecure: bool = key(False, "Without TLS.")
    sample_rate: Annotated[float, Range(0, 1)] = key(1.0, "Share of requests.")


@frozen(kw_only=True)
class TokenCounting:
    """Counting of the Go VoidLLM."""

    enabled: bool = key(True, "No effect: tokens are always reserved and settled.")


@frozen(kw_only=True)
class CircuitBreaker:
    """Leaving a failing deployment alone for a while."""

    enabled: bool = key(False, "Use circuit breakers.")
    threshold: Annotated[int, Range(1, 10_000, 5)] = key(5, "Failures in a row that open it.")
    timeout: Annotated[Duration, Range(ms("100ms"), ms("24h"), ms("30s"))] = key(
        ms("30s"), "How long it stays open."
    )
    half_open_max: Annotated[int, Range(1, 1000, 1)] = key(1, "Probes at a time after that.")


@frozen(kw_only=True)
class HealthProbe:
    """Whether a server answers at all."""

    enabled: bool = key(False, "Probe this.")
    # As before, an interval that is too short is raised, not refused.
    interval: Annotated[Duration, Range(0, ms("24h"), ms("30s"))] = key(ms("30s"), "How often; at least 10s.")


@frozen(kw_only=True)
class ModelsProbe:
    """Whether a server lists its models."""

    enabled: bool = key(False, "Probe this.")
    interval: Annotated[Duration, Range(0, ms("24h"), ms("60s"))] = key(ms("60s"), "How often; at least 10s.")


@frozen(kw_only=True)
class FunctionalProbe:
    """Whether a model answers."""

    enabled: bool = key(False, "Probe this.")
    interval: Annotated[Duration, Range(0, ms("24h"), ms("5m"))] = key(ms("5m"), "How often; at least 60s.")


@frozen(kw_only=True)
class HealthCheck:
    """Probes of deployments."""

    health: HealthProbe = section(HealthProbe)
    models: ModelsProbe = section(ModelsProbe)
    functional: FunctionalProbe = section(FunctionalProbe)


@frozen(kw_only=True)
class Retention:
    """When old rows are deleted; 0 keeps them."""

    usage_events: _Keep = key(ms("0"), "Age of usage rows; reports go on from their sums.")
    usage_reports: _Keep = key(ms("0"), "Age of the sums by days and months that reports are made of.")
    audit_logs: _Keep = key(ms("0"), "Age of audit entries.")
    interval: Annotated[Duration, Range(ms("1m"), ms("52w"), ms("24h"))] = key(ms("24h"), "How often.")


@frozen(kw_only=True)
class Settings:
    """The installation."""

    admin_key: Annotated[str, Text(least=32)] = key(
        "", "No effect: API keys open the administration API. At least 32 characters.", show="secret"
    )
    encryption_key: Annotated[str, Text(least=16)] = key(
        "",
        "Protects stored secrets: 32 bytes as base64, or any text of 16 characters or more. "
        "Without it, `encryption.key` in `state_dir` holds the keys; it is made while the store is empty.",
        show="secret",
        live=True,
    )
    encryption_keys_old: tuple[Annotated[str, Text(least=16)], ...] = key(
        (),
        "Former values of `encryption_key`, until `voidllm rotate-key` says that they may go. "
        "To rotate: put the value here, a new one there, reload every box, run `voidllm rotate-key`.",
        show="secret",
        live=True,
    )
    license: str = key("", "No effect: there is one edition.", show="secret")
    license_file: Line = key("", "No effect.")
    bootstrap: Bootstrap = section(Bootstrap)
    sessions: Sessions = section(Sessions)
    usage: UsageBuffer = section(UsageBuffer)
    audit: Audit = section(Audit)
    otel: OTel = section(OTel)
    sso: SSO = section(SSO, live=True)
    token_counting: TokenCounting = section(TokenCounting)
    soft_limit_threshold: Annotated[float, Range(0, 1)] = key(0.9, "No effect.")
    circuit_breaker: CircuitBreaker = section(CircuitBreaker)
    health_check: HealthCheck = section(HealthCheck)
    fallback_max_depth: Annotated[int, Range(None, 10)] = key(
        0, "Hops of `fallback`; 0 is off, below 0 is 3."
    )
    mcp: MCP = section(MCP)
    retention: Retention = section(Retention)
    pii: PII = section(PII)
