"""Where the newest snapshot is found, in whatever process."""

from __future__ import annotations

from typing import Callable

from zope.interface import implementer

from voidllm.core.interfaces import ISnapshotSource
from voidllm.core.snapshot import EMPTY_SNAPSHOT, Snapshot

Listener = Callable[[Snapshot], None]


@implementer(ISnapshotSource)
class SnapshotHolder:
    """Holds one snapshot; replacing it is one assignment.

    :ivar current: the newest snapshot. A request takes it once, so that it never sees two.
    """

    __slots__ = ("_listeners", "current")

    def __init__(self, snapshot: Snapshot = EMPTY_SNAPSHOT) -> None:
        self.current = snapshot
        self._listeners: list[Listener] = []

    def swap(self, snapshot: Snapshot) -> None:
        """Replace the snapshot, then tell every listener.

        :raises ExceptionGroup: of what listeners raised, after all of them were told.
        """
        self.current = snapshot
        errors: list[Exception] = []
        for listener in tuple(self._listeners):
            try:
                listener(snapshot)
            except Exception as e:
                errors.append(e)
        if errors:
            raise ExceptionGroup("listeners of a snapshot failed", errors)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(snapshot)`` after every swap from now on.

        :returns: a function that ends it; calling it again does nothing.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe
