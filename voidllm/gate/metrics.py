"""What the gate counts; telemetry implements it."""

from __future__ import annotations

from typing import Protocol

from voidllm.core.usage import UsageEvent


class GateMetrics(Protocol):
    """Counters of the gate; every method is cheap and never raises.

    Each unit of work gives exactly one ``refused`` or one ``settled``.
    """

    def refused(self, code: str, status: int) -> None:
        """Count a unit of work that was not admitted; ``code`` is one of ours."""

    def settled(self, event: UsageEvent) -> None:
        """Count an admitted unit of work that ended, with its tokens."""

    def limited(self, scope: str) -> None:
        """Count a refusal by a limit: ``scope`` is ``request`` or ``token``; comes before ``refused``."""


class NoMetrics:
    """Counts nothing."""

    def refused(self, code: str, status: int) -> None:
        """Count nothing."""

    def settled(self, event: UsageEvent) -> None:
        """Count nothing."""

    def limited(self, scope: str) -> None:
        """Count nothing."""
