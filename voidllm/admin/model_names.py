"""Names of models as requests give them: those that the configuration or the store has."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.core.snapshot import Snapshot
from voidllm.store import model_names


async def require_models(call: Call[Any, Any], names: Iterable[str], field: str = "models") -> None:
    """Refuse names that no model has, switched off or not; aliases are none.

    On a stopped gateway nobody knows the models of the configuration, and nothing is refused.

    :raises Refusal: 400, naming the first item that is none.
    """
    snapshot = _snapshot(call)
    if snapshot.version == 0:
        return
    given = list(names)
    unknown = [name for name in given if name not in snapshot.models]
    if unknown:
        stored = await call.read(model_names.stored_among, tuple(unknown))
        for number, name in enumerate(given):
            if name not in snapshot.models and name not in stored:
                raise bad("there is no such model; aliases do not count", param=f"{field}[{number}]")


async def taken_among(call: Call[Any, Any], names: Iterable[str]) -> frozenset[str]:
    """Say which of ``names`` a model has as its name, or as an alias for everybody."""
    snapshot = _snapshot(call)
    known = {name for name in names if name in snapshot.models or name in snapshot.aliases.everywhere}
    return frozenset(known | await call.read(model_names.stored_among, tuple(names), True))


async def canonical(call: Call[Any, Any], names: Iterable[str]) -> Mapping[str, str]:
    """Give each name of a model, or alias for everybody, the model's own name; others are not in there."""
    snapshot = _snapshot(call)
    found, unknown = {}, []
    for name in names:
        target = name if name in snapshot.models else snapshot.aliases.everywhere.get(name)
        if target is None:
            unknown.append(name)
        else:
            found[name] = target
    if unknown:
        found |= {name: name for name in await call.read(model_names.stored_among, tuple(unknown))}
    return found


def _snapshot(call: Call[Any, Any]) -> Snapshot:
    snapshot: Snapshot = call.context.snapshots.current
    return snapshot
