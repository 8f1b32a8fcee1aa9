"""The twisted.web face on real sockets, alone and behind the front."""

from __future__ import annotations

from typing import Any

from tests.http.behaviour import FaceBehaviour, Listening
from tests.http.wire import real_world
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.site import StrictSite


class TwistedFace(FaceBehaviour, Listening):
    """The common contract on a Site of its own (``server.front: twisted``)."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        world = real_world(reactor)
        return StrictSite(world, ProxyResource(world, handler))


class HandedOverFace(FaceBehaviour, Listening):
    """The common contract on connections that the front hands over."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        world = real_world(reactor)
        site = StrictSite(world, ProxyResource(world, handler))
        return FrontFactory(world, handler, site, is_fast=lambda method, path: False)
