"""The secrets of a store as a whole: which keys they are sealed with, and sealing them anew."""

from __future__ import annotations

from typing import Callable, Collection, Iterable

from attrs import frozen

from voidllm.core.errors import StateError
from voidllm.core.keyring import ID_LENGTH
from voidllm.store import catalogue_version, state
from voidllm.store.changes import Changed
from voidllm.store.sealed import KEY_CHECK, SEALED, Sealed
from voidllm.store.statements import Op, q

#: Secrets that one transaction seals anew.
BATCH = 200

# Nothing of what is no sealed secret may be shown.
_NAMED = f"substr({{column}}, {ID_LENGTH + 1}, 1) = ':'"
_KEY = f"CASE WHEN {_NAMED} THEN substr({{column}}, 1, {ID_LENGTH}) ELSE '' END"

#: ``reseal(sealed, table, column, row_id) -> sealed`` with the current key.
Reseal = Callable[[str, str, str, str], str]


@frozen
class Held:
    """How many secrets of one column are sealed with one key.

    :ivar key_id: empty for what is no sealed secret.
    """

    table: str
    column: str
    key_id: str
    count: int

    def __str__(self) -> str:
        how = f"with key {self.key_id}" if self.key_id else "damaged"
        return f"{self.table}.{self.column}: {self.count} {how}"


@frozen
class Resealed:
    """What one batch has done.

    :ivar place: where to go on: the index of a column and the last row seen; ``None`` at the end.
    :ivar failed: ``(table, column, row id)`` of what does not open, although its key is known.
    """

    done: int
    place: tuple[int, str] | None
    failed: tuple[tuple[str, str, str], ...] = ()


def census() -> Op[tuple[Held, ...]]:
    """Count the sealed secrets of every column by key."""
    found = []
    for one in SEALED:
        rows = yield q(
            f"SELECT {_KEY.format(column=one.column)}, count(*) FROM {one.table}"  # noqa: S608
            f" WHERE {_present(one)} GROUP BY 1 ORDER BY 1"
        )
        found += [Held(one.table, one.column, row[0], row[1]) for row in rows]
    return tuple(found)


def reseal(place: tuple[int, str], current: str, known: Collection[str], seal: Reseal) -> Op[Resealed]:
    """Seal some secrets anew that another key than ``current`` has sealed.

    :param place: ``(0, "")`` at the beginning, then what :class:`Resealed` says.
    :param known: ids of keys whose secrets can be opened; the others stay as they are.
    """
    index, after = place
    older = sorted(set(known) - {current})
    done, failed = 0, []
    if not older:
        return Resealed(0, None)
    while index < len(SEALED):
        one = SEALED[index]
        rows = yield q(
            f"SELECT {one.id_column}, {one.column} FROM {one.table} WHERE {_present(one)}"  # noqa: S608
            f" AND substr({one.column}, 1, {ID_LENGTH}) IN ({', '.join('?' * len(older))})"
            f" AND {one.id_column} > ? ORDER BY {one.id_column} LIMIT ?",
            *older,
            after,
            BATCH - done,
        )
        for row_id, sealed in rows:
            try:
                anew = seal(sealed, one.table, one.column, row_id)
            except StateError:
                failed.append((one.table, one.column, row_id))
                continue
            # What somebody has changed meanwhile is theirs.
            yield q(
                f"UPDATE {one.table} SET {one.column} = ? WHERE {one.id_column} = ? AND {one.column} = ?",  # noqa: S608
                anew,
                row_id,
                sealed,
            )
        done += len(rows)
        if done >= BATCH:
            return Resealed(done - len(failed), (index, rows[-1][0]), tuple(failed))
        index, after = index + 1, ""
    return Resealed(done - len(failed), None, tuple(failed))


def keep_first(name: str, value: str) -> Op[str]:
    """Keep ``value`` under ``name`` unless there is one; gives the one that is kept."""
    yield q("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)
    rows = yield q("SELECT value FROM meta WHERE name = ?", name)
    return str(rows[0][0])


def promote(old: str, new: str, check: str) -> Op[Changed[bool]]:
    """Say which key seals from now on, on every box; they hear of it as of a change of models.

    :param old: id of the key that has sealed so far.
    :param check: check value of the key ``new``.
    """
    yield from state.meta_set(KEY_CHECK, check)
    yield from catalogue_version.grow()
    before, after = {"key": old}, {"key": new}
    return Changed(
        True, "rotate", "encryption_key", new, before=before, after=after, touched=(("models", ""),)
    )


# Which boxes there are


def announce(box: str, key_ids: Iterable[str], now_ms: int) -> Op[None]:
    """Note which keys a box knows."""
    yield q(
        "INSERT INTO encryption_boxes (box, key_ids, seen_at_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (box) DO UPDATE SET key_ids = excluded.key_ids, seen_at_ms = excluded.seen_at_ms",
        box,
        " ".join(key_ids),
        now_ms,
    )


def depart(box: str) -> Op[None]:
    """Note that a box has stopped."""
    yield q("DELETE FROM encryption_boxes WHERE box = ?", box)


def without(key_id: str, since_ms: int, box: str) -> Op[list[str]]:
    """Name the boxes other than ``box`` that were there since a moment and do not know a key."""
    rows = yield q("SELECT box, key_ids FROM encryption_boxes WHERE seen_at_ms >= ? ORDER BY box", since_ms)
    return [other for other, ids in rows if other != box and key_id not in ids.split()]


def _present(one: Sealed) -> str:
    return f"{one.column} IS NOT NULL{f' AND {one.only}' if one.only else ''}"
