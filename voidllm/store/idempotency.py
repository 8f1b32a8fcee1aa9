"""Answers kept for a while under keys that callers chose, so that a request can be sent again."""

from __future__ import annotations

from voidllm.store.records import Remembered
from voidllm.store.statements import PAGE, Op, q

#: How many answers are kept for one caller; older ones make room.
MOST_PER_SUBJECT = 1000


def begin(
    subject: str, name: str, fingerprint: str, now_ms: int, expires_at_ms: int
) -> Op[Remembered | None]:
    """Take a key for a request that is about to run; gives what is kept under it, if something is."""
    yield q(
        "DELETE FROM idempotency_keys WHERE (subject, name) IN (SELECT subject, name FROM idempotency_keys"
        " WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)",
        now_ms,
        PAGE,
    )
    # An expired one beyond that page must not stand for this request.
    yield q(
        "DELETE FROM idempotency_keys WHERE subject = ? AND name = ? AND expires_at_ms <= ?",
        subject,
        name,
        now_ms,
    )
    taken = yield q(
        "INSERT INTO idempotency_keys (subject, name, fingerprint, created_at_ms, expires_at_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (subject, name) DO NOTHING RETURNING name",
        subject,
        name,
        fingerprint,
        now_ms,
        expires_at_ms,
    )
    if not taken:
        rows = yield q(
            "SELECT fingerprint, status, reply FROM idempotency_keys WHERE subject = ? AND name = ?",
            subject,
            name,
        )
        return Remembered(*rows[0]) if rows else Remembered("")
    yield q(
        "DELETE FROM idempotency_keys WHERE subject = ? AND name <> ? AND created_at_ms <="
        " (SELECT created_at_ms FROM idempotency_keys WHERE subject = ?"
        " ORDER BY created_at_ms DESC LIMIT 1 OFFSET ?)",
        subject,
        name,
        subject,
        MOST_PER_SUBJECT,
    )
    return None


def finish(subject: str, name: str, status: int, reply: str) -> Op[None]:
    """Keep the answer of the request that took the key."""
    yield q(
        "UPDATE idempotency_keys SET status = ?, reply = ? WHERE subject = ? AND name = ?",
        status,
        reply,
        subject,
        name,
    )


def forget(subject: str, name: str) -> Op[None]:
    """Give back a key whose request did nothing."""
    yield q("DELETE FROM idempotency_keys WHERE subject = ? AND name = ? AND status IS NULL", subject, name)
