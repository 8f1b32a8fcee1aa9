"""The ``/v1`` handler: who asks, for which endpoint, and who answers."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import IMessageHandler, ISnapshotSource
from voidllm.core.principal import Principal
from voidllm.core.work import Ask
from voidllm.http.message import Request
from voidllm.http.replies import JSON, refusal_reply
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.endpoints import ENDPOINTS, MODELS
from voidllm.proxy.json_exchange import JSONExchange
from voidllm.proxy.models import answer_models
from voidllm.proxy.multipart_exchange import MultipartExchange

_NOT_FOUND = Refusal(404, "unknown_endpoint", "there is no such endpoint")
_METHOD = "this endpoint does not allow that method"


@implementer(IMessageHandler)
class ProxyHandler:
    """Answers ``/v1/*``; the key is checked before any of the body is read.

    :param core: what every exchange shares.
    :param snapshots: where the list of models comes from.
    """

    def __init__(self, core: ProxyCore, snapshots: ISnapshotSource) -> None:
        self._core = core
        self._snapshots = snapshots

    def handle(self, request: Request, responder: Any) -> None:
        """Answer one request."""
        core = self._core
        try:
            principal = core.gate.identify(
                request.headers, request.client, request.request_id, request.started_s, request.memo
            )
        except Refusal as refusal:
            # Nobody is known yet, so there is nobody to write a usage row for.
            self._reply(request, responder, refusal)
            return
        endpoint = ENDPOINTS.get(request.path)
        if endpoint is not None:
            if request.method != b"POST":
                self._refuse(request, responder, principal, endpoint.name, _not_allowed(b"POST"))
            else:
                exchange = MultipartExchange if endpoint.multipart else JSONExchange
                exchange(core, endpoint, request, responder, principal).begin()
        elif request.path == MODELS or request.path.startswith(MODELS + b"/"):
            if request.method not in (b"GET", b"HEAD"):
                self._refuse(request, responder, principal, "models", _not_allowed(b"GET, HEAD"))
                return
            try:
                body = answer_models(self._snapshots.current, principal, request)
            except Refusal as refusal:
                self._refuse(request, responder, principal, "models", refusal)
                return
            responder.reply(200, [JSON, *self._core.timing(request.started_s)], body)
        else:
            self._refuse(request, responder, principal, "", _NOT_FOUND)

    def welcome(self, headers: list[tuple[bytes, bytes]], request_id: str, started_s: float) -> None:
        """Check the key of whoever is about to send a body, for a face that buffers bodies.

        Where it is used from is looked at in :meth:`handle`.

        :raises Refusal: for whom :meth:`handle` would refuse at once.
        """
        self._core.gate.identify(headers, None, request_id, started_s)

    def shut_down(self) -> None:
        """End every exchange that is still running, each in a way its client can tell."""
        for exchange in tuple(self._core.live):
            exchange.shut_down()

    def _refuse(
        self, request: Request, responder: Any, principal: Principal, endpoint: str, refusal: Refusal
    ) -> None:
        ask = Ask("llm", endpoint, "", 0, request.request_id, self._core.world.wall_ms(), request.started_s)
        self._core.gate.refuse(principal, ask, refusal)
        self._reply(request, responder, refusal)

    def _reply(self, request: Request, responder: Any, refusal: Refusal) -> None:
        headers, body = refusal_reply(refusal, request.request_id)
        responder.reply(refusal.status, [*headers, *self._core.timing(request.started_s)], body)


def _not_allowed(allow: bytes) -> Refusal:
    return Refusal(405, "method_not_allowed", _METHOD, headers=((b"allow", allow),))
