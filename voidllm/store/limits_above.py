"""The limits of whatever stands above a key or a team."""

from __future__ import annotations

from voidllm.core.principal import Limits
from voidllm.store import limits_rows
from voidllm.store.statements import Op, q

#: What each scope is called, and its limits; the nearest first. Those without limits are there too.
Above = tuple[tuple[str, Limits], ...]

_CALLED = {"team": "team", "org": "organisation", "system": "installation"}


def limits_above(org_id: str | None, team_id: str | None = None) -> Op[Above]:
    """Read what bounds the limits of a key of ``team_id`` (or of none), of a team, or of an organisation.

    :param org_id: ``None`` for what is above organisations.
    """
    wanted = [("team", team_id), ("org", org_id), ("system", "")]
    scopes = [(kind, scope_id) for kind, scope_id in wanted if scope_id is not None]
    where = " OR ".join(["(l.scope_kind = ? AND l.scope_id = ?)"] * len(scopes))
    rows = yield q(
        f"SELECT l.scope_kind, {limits_rows.COLUMNS} FROM scope_limits l WHERE {where}",  # noqa: S608
        *(value for scope in scopes for value in scope),
    )
    found = {kind: limits_rows.from_row(tuple(numbers)) for kind, *numbers in rows}
    return tuple((_CALLED[kind], found.get(kind, Limits())) for kind, _ in scopes)
