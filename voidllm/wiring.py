"""Translates configuration into what each part wants to be told; pure but for class look-ups."""

from __future__ import annotations

import os
from typing import Any

from voidllm.config import Config, Pricing
from voidllm.core.model import Price
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.settings import FrontSettings
from voidllm.plan import Plan
from voidllm.proxy.settings import ProxySettings
from voidllm.retention import Keep
from voidllm.usage.price_numbers import price_from_config
from voidllm.usage.prices import PriceBook
from voidllm.usage.settings import UsageSettings


def pool_settings(config: Config) -> PoolSettings:
    """Translate for the upstream pool."""
    upstream = config.upstream
    return PoolSettings(max_per_origin=upstream.max_connections_per_origin, max_waiting=upstream.max_queue)


def make_plan(config: Config, workers: int, tls: tuple[bytes, bytes] | None) -> Plan:
    """Translate for workers; each gets its own ``boot``.

    :param tls: PEM of certificate chain and key.
    """
    return Plan(
        boot="",
        state_dir=config.state_dir,
        front=front_settings(config),
        engine=config.upstream.engine,
        pool=pool_settings(config),
        proxy=proxy_settings(config),
        usage=usage_settings(config, workers + 1),
        tls=tls,
        log_level=config.logging.level,
        log_format=config.logging.format,
    )


def store_arguments(config: Config) -> tuple[str, str, dict[str, Any]]:
    """Give driver, DSN and options of the store."""
    database = config.database
    if database.driver == "sqlite":
        path = database.sqlite_path or os.path.join(config.state_dir, "voidllm.db")
        options = {"synchronous": "full" if config.usage.fsync == "interval" else "normal"}
        return database.driver, path, options
    return (
        database.driver,
        database.dsn,
        {"connections": database.max_open_conns, "lifetime_s": database.conn_max_lifetime.seconds},
    )


def front_settings(config: Config) -> FrontSettings:
    """Translate for the listening side."""
    proxy = config.server.proxy
    return FrontSettings(
        max_body_bytes=proxy.max_request_body,
        read_timeout_s=proxy.read_timeout.seconds,
        write_timeout_s=proxy.write_timeout.seconds,
        idle_timeout_s=proxy.idle_timeout.seconds,
        trusted_proxies=tuple(map(str, config.server.trusted_proxies)),
    )


def usage_settings(config: Config, writers: int = 1) -> UsageSettings:
    """Translate for the usage pipeline.

    :param writers: processes with a journal of their own, which share what is held back.
    """
    return UsageSettings(
        reserve_bytes=(config.usage.reserve_mb << 20) // writers,
        fsync=config.usage.fsync,
        flush_seconds=config.settings.usage.flush_interval.seconds,
        # SQLite's thread waits for the interpreter once a statement, so few of them; PostgreSQL's
        # answer is read by the reactor, so not too much at a time.
        batch_rows=2048 if config.database.driver == "sqlite" else 500,
    )


def retention_settings(config: Config) -> Keep:
    """Translate for what drops old rows."""
    keep = config.settings.retention
    return Keep(
        events_ms=round(keep.usage_events.seconds * 1000),
        reports_ms=round(keep.usage_reports.seconds * 1000),
        interval_s=keep.interval.seconds,
    )


def proxy_settings(config: Config) -> ProxySettings:
    """Translate for the proxy."""
    proxy, stream, upstream = config.server.proxy, config.stream, config.upstream
    return ProxySettings(
        spool_dir=config.state_dir,
        max_request_body=proxy.max_request_body,
        max_response_body=proxy.max_response_body,
        connect_timeout_s=upstream.connect_timeout.seconds,
        head_timeout_s=upstream.head_timeout.seconds,
        idle_timeout_s=stream.idle_timeout.seconds,
        commit_after_s=stream.commit_after.seconds,
        keepalive_s=stream.keepalive.seconds,
        first_token_timeout_s=stream.first_token_timeout.seconds or None,
        max_stream_duration_s=proxy.max_stream_duration.seconds or None,
        server_timing=config.server.server_timing,
        tag_headers=tuple(name.encode("ascii") for name in config.settings.usage.tag_headers),
    )


def price_of(book: PriceBook, provider: str, upstream_model: str, pricing: Pricing) -> Price | None:
    """Give a model's price: configured numbers, else the packaged price data."""
    if not pricing.given:
        return book.price_for(provider, upstream_model)
    numbers: dict[str, Any] = {
        "input_per_1m": pricing.input_per_1m or 0,
        "output_per_1m": pricing.output_per_1m or 0,
        "cache_read_per_1m": pricing.cached_input_per_1m,
        "cache_write_per_1m": pricing.cache_write_per_1m,
        "reasoning_per_1m": pricing.reasoning_per_1m,
        "audio_per_1m": pricing.audio_per_1m,
        "audio_output_per_1m": pricing.audio_output_per_1m,
    }
    return price_from_config(**{name: _plain(value) for name, value in numbers.items()})


def _plain(value: Any) -> Any:
    # The text of a Decimal is exact, which its float is not.
    return str(value) if value is not None else None
