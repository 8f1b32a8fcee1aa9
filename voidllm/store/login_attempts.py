"""Failed attempts to log in, counted by digests of whom and from where; never by an address itself.

In the store and not in memory, so that neither a restart nor another box forgets them. Attempts are
counted before their password is looked at and taken back when it was right: however many come at
the same time, no more of them are looked at than the count allows.
"""

from __future__ import annotations

from typing import Callable, Mapping

from attrs import frozen

from voidllm.store.statements import PAGE, Op, q

#: Rows that are kept; the oldest make room.
MOST = 50_000
#: How long a row is of any use, in milliseconds.
KEPT_MS = 30 * 24 * 3600 * 1000


@frozen
class Tally:
    """What is known of one account, of one address, or of one account from one address.

    :ivar failures: attempts that failed or still run.
    :ivar since_ms: when it was first heard of.
    :ivar last_ms: when an attempt was last counted.
    :ivar good_ms: when one last succeeded.
    """

    failures: int = 0
    since_ms: int = 0
    last_ms: int = 0
    good_ms: int | None = None


#: Gives how long to wait, or the failures of each with the new attempt.
Decide = Callable[[Mapping[str, Tally]], tuple[int, Mapping[str, int]]]

_SELECT = "SELECT subject, failures, since_ms, last_ms, good_ms FROM login_attempts WHERE subject IN "
# Changes nothing of a row that is there, but holds it until the transaction ends.
_HOLD = (
    "INSERT INTO login_attempts (subject, failures, since_ms, last_ms) VALUES (?, 0, ?, ?)"
    " ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject"
    " RETURNING failures, since_ms, last_ms, good_ms"
)


def look(subjects: tuple[str, ...]) -> Op[dict[str, Tally]]:
    """Read what is known, of all of ``subjects`` or less."""
    rows = yield q(f"{_SELECT}({', '.join('?' * len(subjects))})", *subjects)
    return {subject: Tally(*row) for subject, *row in rows}


def count(subjects: tuple[str, ...], decide: Decide, now_ms: int) -> Op[int]:
    """Count one attempt, unless it must wait; gives for how many milliseconds, 0 if it need not."""
    found = {}
    # In one order for everybody, so that no two wait for each other.
    for subject in sorted(subjects):
        rows = yield q(_HOLD, subject, now_ms, now_ms)
        found[subject] = Tally(*rows[0])
    wait_ms, failures = decide(found)
    if wait_ms > 0:
        return wait_ms
    for subject, number in sorted(failures.items()):
        yield q(
            "UPDATE login_attempts SET failures = ?, last_ms = ? WHERE subject = ?", number, now_ms, subject
        )
    return 0


def take_back(subjects: tuple[str, ...]) -> Op[None]:
    """Take one attempt back that was no wrong guess."""
    for subject in sorted(subjects):
        yield q(
            "UPDATE login_attempts SET failures = failures - 1 WHERE subject = ? AND failures > 0", subject
        )


def forgive(forgiven: tuple[str, ...], address: str, now_ms: int) -> Op[None]:
    """Forget the failures of an account after a success; of an address only this attempt.

    Otherwise whoever has one account could have an address forgiven for guessing at others.
    """
    for subject in sorted(forgiven):
        yield q("UPDATE login_attempts SET failures = 0, good_ms = ? WHERE subject = ?", now_ms, subject)
    yield from take_back((address,))


def prune(now_ms: int) -> Op[None]:
    """Delete what is old or more than is kept, a page at most."""
    yield q(
        "DELETE FROM login_attempts WHERE subject IN"
        " (SELECT subject FROM login_attempts WHERE last_ms < ? ORDER BY last_ms LIMIT ?)",
        now_ms - KEPT_MS,
        PAGE,
    )
    yield q(
        "DELETE FROM login_attempts WHERE subject IN"
        " (SELECT subject FROM login_attempts ORDER BY last_ms DESC LIMIT ? OFFSET ?)",
        PAGE,
        MOST,
    )
