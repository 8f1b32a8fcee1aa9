"""Going through the chain of the audit log: whether every entry is what was written, and none is missing."""

from __future__ import annotations

from attrs import frozen

from voidllm.store.audit import COLUMNS, digest_of
from voidllm.store.statements import PAGE, Op, q

_SELECT = f"SELECT {', '.join(COLUMNS)}, hash FROM audit_log WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608


@frozen
class Head:
    """What the log says of itself.

    :ivar seq: number of the newest entry, 0 for none.
    :ivar dropped_seq: number of the newest one that was dropped for its age, 0 for none.
    """

    seq: int
    hash: str
    dropped_seq: int
    dropped_hash: str


@frozen
class Checked:
    """How far the chain was followed.

    :ivar seq: number of the last entry that fits.
    :ivar hash: of that entry.
    :ivar entries: how many were looked at this time.
    :ivar done: nothing is left to look at.
    :ivar fault_seq: number of the first entry that does not fit, or is missing.
    :ivar fault: ``altered``, ``missing``, ``truncated``, ``beyond_head`` or ``headless``; ``None`` if all
        is well.
    """

    head: Head
    seq: int
    hash: str
    entries: int
    done: bool
    fault_seq: int | None = None
    fault: str | None = None


def head() -> Op[Head | None]:
    """Read what the log says of itself; ``None`` if somebody took that away."""
    rows = yield q("SELECT seq, hash, dropped_seq, dropped_hash FROM audit_head WHERE id = 1")
    return Head(*rows[0]) if rows else None


def follow(after: int, after_hash: str) -> Op[Checked]:
    """Look at one page of entries.

    An entry that was changed, or put in another's place, is ``altered``: its own hash and the one
    before it no longer make the hash that is stored with it.

    :param after: number of the entry before, 0 to begin with the oldest there is.
    :param after_hash: hash of that entry.
    """
    known = yield from head()
    if known is None:
        # An empty log has it too.
        return Checked(Head(0, "", 0, ""), 0, "", 0, True, 0, "headless")
    if after <= known.dropped_seq:
        # Dropped since, or never looked at: the chain goes on from what was noted when it was dropped.
        after, after_hash = known.dropped_seq, known.dropped_hash
    if after > known.seq:
        # There was an entry after which there is not even a place now.
        return Checked(known, known.seq, known.hash, 0, True, known.seq + 1, "truncated")
    rows = yield q(_SELECT, after, PAGE)
    last, digest = after, after_hash
    for *values, stored in rows:
        fault = None
        if values[0] != last + 1:
            fault = "missing"
        elif values[0] > known.seq:
            fault = "beyond_head"
        elif digest_of(digest, values) != stored:
            fault = "altered"
        if fault is not None:
            return Checked(known, last, digest, last - after, True, last + 1, fault)
        last, digest = values[0], stored
    if len(rows) == PAGE:
        return Checked(known, last, digest, last - after, False)
    if last != known.seq:
        return Checked(known, last, digest, last - after, True, last + 1, "truncated")
    if digest != known.hash:
        return Checked(known, last, digest, last - after, True, last, "altered")
    return Checked(known, last, digest, last - after, True)


def drop_before(at_ms: int, most: int = PAGE) -> Op[int]:
    """Drop the oldest entries, those from before ``at_ms``, and note where the chain goes on.

    The first entry that is young enough stays with everything after it.

    :param most: how many at once.
    :returns: how many were dropped.
    """
    # Takes the row that writers take, so that nobody else drops at the same time.
    ((dropped,),) = yield q("UPDATE audit_head SET seq = seq WHERE id = 1 RETURNING dropped_seq")
    rows = yield q(
        "SELECT seq, hash, at_ms FROM audit_log WHERE seq > ? ORDER BY seq LIMIT ?", dropped, min(most, PAGE)
    )
    old = []
    for seq, digest, written_ms in rows:
        if written_ms >= at_ms:
            break
        old.append((seq, digest))
    if not old:
        return 0
    seq, digest = old[-1]
    yield q("DELETE FROM audit_log WHERE seq <= ?", seq)
    yield q("UPDATE audit_head SET dropped_seq = ?, dropped_hash = ? WHERE id = 1", seq, digest)
    return len(old)
