"""Both stores are what the interface says."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.store.support import world
from voidllm.core.interfaces import IStore
from voidllm.store import open_store
from voidllm.store.statements import storable


class InterfaceTests(SynchronousTestCase):
    """The seam."""

    def test_both_provide_it(self) -> None:
        """Each store has every method with the signature that was agreed upon."""
        for driver, dsn in (("sqlite", "/nowhere"), ("postgres", "dbname=nowhere")):
            self.assertTrue(verifyObject(IStore, open_store(world(reactor=Clock()), driver, dsn)))

    def test_storable(self) -> None:
        """Any text goes but one with a NUL or half of a surrogate pair."""
        for text in ("", "a", "größe", "😀", "\x01"):
            self.assertTrue(storable(text))
        for text in ("\0", "a\0ß", "\ud800", "x\udfff"):
            self.assertFalse(storable(text))
