"""What changes from one snapshot to the next: a thousandth of it, as a rule."""

from __future__ import annotations

from typing import Mapping, TypeVar

from attrs import evolve, field, frozen

from voidllm.core.errors import VoidLLMError
from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.core.snapshot_keys import KeyDraft, KeyTable

K = TypeVar("K")
V = TypeVar("V")


class Gap(VoidLLMError):
    """A change does not follow what is there; only a whole snapshot helps."""


@frozen
class Delta:
    """Turns the snapshot of version ``base`` into that of ``version``.

    :ivar keys: new and changed ones; see :class:`~voidllm.core.snapshot.Snapshot`.
    :ivar aliases: all of them, or ``None`` if none changed.
    """

    base: int
    version: int
    keys: Mapping[bytes, Principal] = field(repr=False)
    keys_gone: tuple[bytes, ...] = field(repr=False)
    models: Mapping[str, Model]
    models_gone: tuple[str, ...]
    aliases: Aliases | None


def difference(old: Snapshot, new: Snapshot) -> Delta:
    """Say what turns ``old`` into ``new``; what both share is not looked at."""
    keys, keys_gone = new.keys.since(old.keys)
    models, models_gone = _difference(old.models, new.models)
    aliases = None if old.aliases is new.aliases or old.aliases == new.aliases else new.aliases
    return Delta(old.version, new.version, keys, keys_gone, models, models_gone, aliases)


def apply(old: Snapshot, delta: Delta) -> Snapshot:
    """Give the next snapshot; what did not change is the same object as before.

    :raises Gap: if ``old`` is not what ``delta`` was made from.
    """
    if old.version != delta.base:
        raise Gap(f"version {old.version} is there, the change is from {delta.base}")
    return evolve(
        old,
        version=delta.version,
        keys=_changed(old.keys, delta),
        models=_apply(old.models, delta.models, delta.models_gone),
        aliases=delta.aliases or old.aliases,
    )


def _changed(keys: KeyTable, delta: Delta) -> KeyTable:
    if not delta.keys and not delta.keys_gone:
        return keys
    draft = KeyDraft(keys)
    for digest, principal in delta.keys.items():
        draft.put(digest, principal)
    for digest in delta.keys_gone:
        draft.drop(digest)
    return draft.done()


def _difference(old: Mapping[K, V], new: Mapping[K, V]) -> tuple[dict[K, V], tuple[K, ...]]:
    if old is new:
        return {}, ()
    changed = {key: value for key, value in new.items() if key not in old or old[key] != value}
    return changed, tuple(key for key in old if key not in new)


def _apply(old: Mapping[K, V], changed: Mapping[K, V], gone: tuple[K, ...]) -> Mapping[K, V]:
    if not changed and not gone:
        return old
    new = {**old, **changed}
    for key in gone:
        new.pop(key, None)
    return new
