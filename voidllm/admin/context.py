"""What the administrative operations work on, whichever way they are reached."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed

from voidllm.core.crypto import KeyDigester
from voidllm.core.keyring import Keyring
from voidllm.core.world import World


def _nothing_to_flush() -> Deferred[None]:
    return succeed(None)


@frozen
class AdminContext:
    """The parts of a gateway that administration needs.

    :ivar store: an :class:`~voidllm.core.interfaces.IStore`.
    :ivar digester: makes the digests by which API keys are known.
    :ivar snapshots: an :class:`~voidllm.core.interfaces.ISnapshotSource`; says who calls.
    :ivar flush: commits everything that was journaled before the call, so that a report is complete.
    :ivar config_view: gives the configuration as plain values, without secrets.
    :ivar reload: takes over the configuration file and gives the keys that need a restart.
    :ivar workers: describes the processes that answer requests besides this one, if there are any.
    :ivar began_s: when the gateway began, by the reactor's clock.
    :ivar secrets: seals and opens what is kept encrypted; see :mod:`voidllm.core.keyring`.
    """

    world: World
    store: Any
    digester: KeyDigester = field(repr=False)
    snapshots: Any = field(repr=False)
    flush: Callable[[], Deferred[Any]] = _nothing_to_flush
    config_view: Callable[[], Mapping[str, Any]] = dict
    reload: Callable[[], list[str]] | None = None
    workers: Callable[[], list[dict[str, Any]]] | None = None
    began_s: float = 0.0
    secrets: Keyring = field(factory=Keyring, repr=False)
