"""Which models organisations and teams may use, and under which names: changed on record."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import evolve, frozen

from voidllm.core.errors import StoreRejected
from voidllm.store import access_rows
from voidllm.store.changes import Changed
from voidllm.store.orgs import lock_org
from voidllm.store.statements import Op
from voidllm.store.tenants import exists

Allowed = frozenset[str] | None


@frozen
class Where:
    """An organisation, or a team of it."""

    org_id: str
    team_id: str | None = None

    @property
    def kind(self) -> str:
        """``org`` or ``team``."""
        return "org" if self.team_id is None else "team"

    @property
    def id(self) -> str:
        """The id of the one or of the other."""
        return self.team_id or self.org_id


@frozen
class Lists:
    """What a scope and the one above it are restricted to; ``None`` for all models.

    :ivar above: of the organisation, where it is about a team.
    """

    own: Allowed
    above: Allowed = None

    def reach(self, model: str) -> bool:
        """Say whether a model is in every list."""
        return all(allowed is None or model in allowed for allowed in (self.own, self.above))


def lists_of(where: Where) -> Op[Lists]:
    """Read what a scope is restricted to."""
    own = yield from access_rows.get_access(where.kind, where.id)
    above = None if where.team_id is None else (yield from access_rows.get_access("org", where.org_id))
    return Lists(own, above)


def change_list(where: Where, decide: Callable[[Lists], Allowed]) -> Op[Changed[Lists] | None]:
    """Restrict a scope to other models; nothing if it is gone.

    :param decide: says to which, by what is in force while nobody else can change it.
    """
    if not (yield from lock(where)):
        return None
    old = yield from lists_of(where)
    wanted = decide(old)
    yield from access_rows.put_access(where.kind, where.id, wanted)
    return entry(where, "update", "model_access", evolve(old, own=wanted), _facts(old.own), _facts(wanted))


def lock(where: Where) -> Op[bool]:
    """Have others wait who change a scope or what is above it; ``False`` if there is none."""
    if where.kind not in ("org", "team"):
        raise StoreRejected("only organisations and teams have lists and aliases")
    if not (yield from lock_org(where.org_id)):
        return False
    return where.team_id is None or (yield from exists("team", where.team_id))


def entry(
    where: Where,
    action: str,
    resource: str,
    result: Any,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    resource_id: str | None = None,
) -> Changed[Any]:
    """Say what was done to something of a scope."""
    return Changed(
        result,
        action,
        resource,
        resource_id or where.id,
        where.org_id,
        where.team_id,
        before=before,
        after=after,
        touched=((where.kind, where.id),),
    )


def _facts(allowed: Allowed) -> dict[str, Any]:
    return {"models": None if allowed is None else sorted(allowed)}
