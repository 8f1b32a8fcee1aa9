"""The listening factory of the fast front; see :mod:`voidllm.http.connection`."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable
from weakref import WeakValueDictionary

from twisted.internet.protocol import Factory

from voidllm.core.ids import IdSource
from voidllm.core.world import World
from voidllm.http.clientaddr import TrustedProxies
from voidllm.http.connection import FrontConnection
from voidllm.http.dispatch import NotFound, is_fast
from voidllm.http.framing import Head
from voidllm.http.known_head import LONGEST, KnownHead
from voidllm.http.population import Populated, Population
from voidllm.http.reply_head import DateLine
from voidllm.http.sampling import Sampling
from voidllm.http.settings import FrontSettings

#: Connections that may keep the head of their last request; more would cost what idle ones may not.
_KNOWN = 1024

__all__ = ["FrontConnection", "FrontFactory", "FrontSettings"]


class FrontFactory(Populated, Factory):
    """Listens for a :class:`~voidllm.core.interfaces.IMessageHandler`.

    :param world: reactor, time and randomness.
    :param handler: gets the requests that ``is_fast`` picks.
    :param site: a ``twisted.web.server.Site`` for everything else, or ``None`` (404).
    :param is_fast: ``is_fast(method, path) -> bool``.
    :ivar sampling: which requests are followed through the kernel.
    :ivar population: open connections and running requests, shared with a ``StrictSite``.
    """

    noisy = False

    def __init__(
        self,
        world: World,
        handler: Any,
        site: Any = None,
        settings: FrontSettings | None = None,
        is_fast: Callable[[bytes, bytes], bool] = is_fast,
    ) -> None:
        self.world = world
        self.handler = handler
        self.not_found = NotFound()
        self.site = site
        self.settings = settings or FrontSettings()
        self.is_fast = is_fast
        self.trusted = TrustedProxies(self.settings.trusted_proxies)
        self.date = DateLine(world.wall_ms)
        self.new_id = IdSource(world.random_bytes)
        self.sampling = Sampling(world.reactor)
        self._knowing: OrderedDict[FrontConnection, None] = OrderedDict()
        #: One object for all connections of a client that says the same on each; gone with the last.
        self._heads: WeakValueDictionary[bytes, KnownHead[Head]] = WeakValueDictionary()
        self.population: Population = getattr(site, "population", None) or Population()

    def get_to_know(self, connection: FrontConnection, text: bytes, head: Head) -> KnownHead[Head] | None:
        """Have ``connection`` keep a head that may come again, if there is room and it is no odd one."""
        if len(text) > min(LONGEST, self.settings.max_head_bytes - 16) or head.asks:
            return None
        knowing = self._knowing
        if connection not in knowing:
            if len(knowing) >= _KNOWN:
                knowing.popitem(last=False)[0].known = None
            knowing[connection] = None
        known = KnownHead(text, head)
        return self._heads.setdefault(known.constant, known)

    def forget(self, connection: FrontConnection) -> None:
        """Take note that ``connection`` is closed or served by another protocol."""
        self._knowing.pop(connection, None)

    def startFactory(self) -> None:
        """Start the Site too; nothing listens for it."""
        self.sampling.start()
        if self.site is not None:
            self.site.doStart()

    def stopFactory(self) -> None:
        """Stop the Site too."""
        self.sampling.stop()
        if self.site is not None:
            self.site.doStop()

    def buildProtocol(self, addr: Any) -> FrontConnection:  # type: ignore[override]
        """Make the protocol of one connection."""
        return FrontConnection(self)
