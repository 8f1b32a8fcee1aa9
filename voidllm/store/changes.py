"""Administrative changes: in one transaction the operation, its audit entries, what snapshots read again."""

from __future__ import annotations

from typing import Any, Callable, Generic, Iterator, Mapping, TypeVar

from attrs import frozen

from voidllm.store import audit, audit_diff, state
from voidllm.store.audit import Author
from voidllm.store.statements import Op, q

T = TypeVar("T")

#: A thing that snapshots hold: kind and id.
Touched = tuple[str, str]

#: What makes a snapshot be built anew, because nobody said what is different.
EVERYTHING: Touched = ("all", "")

#: What is noted of a change that touched nothing of a snapshot, so that none is missing in the record.
NOTHING: Touched = ("nothing", "")

#: How many versions are kept; whoever is further behind reads everything.
KEPT = 10_000
_PRUNE_EVERY = 256


@frozen
class Changed(Generic[T]):
    """What an operation did.

    :ivar result: its outcome.
    :ivar action: ``create``, ``update``, ``delete``, ``revoke``, ``rotate`` and so on.
    :ivar resource: what kind of thing was changed: ``org``, ``team``, ``user``, ``key`` and so on.
    :ivar before: the thing as it was, as plain JSON values without secrets; ``None`` if it is new.
    :ivar after: the thing as it is now; ``None`` if it is gone.
    :ivar touched: what snapshots must read again: ``key``, ``org``, ``team``, ``user`` or
        ``service_account`` and an id, or ``models`` or ``system`` and an empty text.
    :ivar more: what else was changed along with it, each an entry of the audit log of its own.
    """

    result: T
    action: str
    resource: str
    resource_id: str | None
    org_id: str | None = None
    team_id: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    touched: tuple[Touched, ...] = ()
    more: tuple[Changed[Any], ...] = ()

    def every(self) -> Iterator[Changed[Any]]:
        """Give this and all that came along with it."""
        yield self
        for one in self.more:
            yield from one.every()


def recorded(
    author: Author | None, now_ms: int, new_id: Callable[[], str], make: Callable[[], Op[Changed[T] | None]]
) -> Op[tuple[T | None, tuple[Touched, ...] | None]]:
    """Run an operation and write its audit entries.

    :param author: who does it, ``None`` for no entries.
    :returns: the outcome, and what is touched; ``None`` for both if nothing was changed.
    """
    changed = yield from make()
    if changed is None:
        return None, None
    if author is not None:
        entries = [
            audit.Entry(
                id=new_id(),
                at_ms=now_ms,
                author=author,
                action=one.action,
                resource_type=one.resource,
                resource_id=one.resource_id,
                org_id=one.org_id,
                team_id=one.team_id,
                diff=audit_diff.difference(one.before, one.after),
            )
            for one in changed.every()
        ]
        yield from audit.append(entries)
    touched = tuple(dict.fromkeys(what for one in changed.every() for what in one.touched))
    return changed.result, touched


def count(touched: tuple[Touched, ...]) -> Op[int]:
    """Count one change and note what it touched; last in its transaction, because others wait for it."""
    version = yield from state.bump()
    for kind, id_ in touched or (NOTHING,):
        yield q("INSERT INTO changes (version, kind, id) VALUES (?, ?, ?)", version, kind, id_)
    if version % _PRUNE_EVERY == 0:
        yield q("DELETE FROM changes WHERE version <= ?", version - KEPT)
    return version
