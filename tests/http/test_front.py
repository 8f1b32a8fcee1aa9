"""The fast front on real sockets."""

from __future__ import annotations

from typing import Any

from tests.http.behaviour import FaceBehaviour, Listening
from tests.http.wire import real_world
from voidllm.http.front import FrontFactory


class FrontBehaviour(FaceBehaviour, Listening):
    """The common contract on the fast front."""

    def make_factory(self, reactor: Any, handler: Any) -> Any:
        return FrontFactory(real_world(reactor), handler)
