"""What the proxy counts; telemetry implements it."""

from __future__ import annotations

from typing import Protocol


class ProxyMetrics(Protocol):
    """Counters of the proxy; every method is cheap and never raises."""

    def upstream_response(self, model: str, provider: str, status: int) -> None:
        """Count the head of an upstream's reply."""

    def upstream_error(self, model: str, provider: str) -> None:
        """Count a call without a complete reply."""

    def added(self, stream: bool, seconds: float) -> None:
        """Count the time that an admitted request spent in the gateway, up to the first byte of its reply.

        It is called for few requests, see :mod:`voidllm.http.sampling`.
        """

    def stream_started(self) -> None:
        """Count a stream in."""

    def stream_ended(self) -> None:
        """Count a stream out."""


class NoMetrics:
    """Counts nothing."""

    def upstream_response(self, model: str, provider: str, status: int) -> None:
        """Count nothing."""

    def upstream_error(self, model: str, provider: str) -> None:
        """Count nothing."""

    def added(self, stream: bool, seconds: float) -> None:
        """Count nothing."""

    def stream_started(self) -> None:
        """Count nothing."""

    def stream_ended(self) -> None:
        """Count nothing."""
