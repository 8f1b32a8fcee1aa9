"""Names of models as requests give them: those that the configuration or the store has."""

from __future__ import annotations

from typing import Any, Iterable

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


async def is_taken(call: Call[Any, Any], name: str) -> bool:
    """Say whether a model has this name, or this alias for everybody."""
    snapshot = _snapshot(call)
    if name in snapshot.models or name in snapshot.aliases.everywhere:
        return True
    return bool(await call.read(model_names.stored_among, (name,), True))


async def canonical(call: Call[Any, Any], name: str, field: str) -> str:
    """Give the name of the model that ``name`` is, or is an alias for everybody of.

    :raises Refusal: 400.
    """
    snapshot = _snapshot(call)
    if name in snapshot.models:
        return name
    target = snapshot.aliases.everywhere.get(name)
    if target is not None:
        return target
    if name in await call.read(model_names.stored_among, (name,)):
        return name
    raise bad("there is no such model", param=field)


def _snapshot(call: Call[Any, Any]) -> Snapshot:
    snapshot: Snapshot = call.context.snapshots.current
    return snapshot
