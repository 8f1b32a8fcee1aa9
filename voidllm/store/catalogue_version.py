"""The number that grows with each change of stored models and of what seals their secrets."""

from __future__ import annotations

from voidllm.store.statements import Op, q


def current() -> Op[int]:
    """Read it."""
    rows = yield q("SELECT version FROM catalogue_version WHERE id = 1")
    return int(rows[0][0])


def grow() -> Op[None]:
    """Count one change."""
    yield q("UPDATE catalogue_version SET version = version + 1 WHERE id = 1")
