"""The holder of the newest snapshot."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from voidllm.core.interfaces import ISnapshotSource
from voidllm.core.snapshot import EMPTY_SNAPSHOT, Snapshot
from voidllm.core.snapshots import SnapshotHolder


class HolderTests(SynchronousTestCase):
    """Swap and subscribe."""

    def test_interface(self) -> None:
        """It is an ``ISnapshotSource`` that begins empty."""
        holder = SnapshotHolder()
        verifyObject(ISnapshotSource, holder)
        self.assertIs(holder.current, EMPTY_SNAPSHOT)

    def test_listeners(self) -> None:
        """Listeners hear of a snapshot that is current already, until they unsubscribe."""
        holder = SnapshotHolder()
        heard: list[tuple[Snapshot, bool]] = []
        stop = holder.subscribe(lambda snapshot: heard.append((snapshot, holder.current is snapshot)))
        first = Snapshot(1)
        holder.swap(first)
        stop()
        stop()
        holder.swap(Snapshot(2))
        self.assertEqual(heard, [(first, True)])
        self.assertEqual(holder.current.version, 2)

    def test_failing_listener(self) -> None:
        """A listener that fails keeps nobody else from hearing, and is not hushed up."""
        holder = SnapshotHolder()
        heard: list[Snapshot] = []

        def fail(snapshot: Snapshot) -> None:
            raise ValueError("broken")

        holder.subscribe(fail)
        holder.subscribe(heard.append)
        self.assertRaises(ExceptionGroup, holder.swap, Snapshot(1))
        self.assertEqual(len(heard), 1)
