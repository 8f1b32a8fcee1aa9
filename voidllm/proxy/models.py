"""``GET /v1/models`` and ``/v1/models/{id}``: answered here, filtered by access."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from voidllm.core.errors import Refusal
from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.snapshot import Snapshot
from voidllm.http.message import Request
from voidllm.http.replies import dump
from voidllm.proxy.endpoints import MODELS


def describe(model: Model) -> dict[str, Any]:
    """Describe a model in OpenAI's shape; no provider, URL or key is shown."""
    shown: dict[str, Any] = {"id": model.name, "object": "model", "created": 0, "owned_by": "voidllm"}
    if model.aliases:
        shown["aliases"] = sorted(model.aliases)
    return shown


def answer_models(snapshot: Snapshot, principal: Principal, request: Request) -> bytes:
    """Give the body that answers one request for the list of models or for one of them.

    :raises Refusal: 404 if there is no such model, or not for this principal: which of
        the two is not told.
    """
    tail = request.path[len(MODELS) :].strip(b"/")
    if not tail:
        names = sorted(name for name in snapshot.models if principal.may_use(name))
        value: dict[str, Any] = {"object": "list", "data": [describe(snapshot.models[n]) for n in names]}
    else:
        model = snapshot.resolve(unquote(tail.decode("latin-1"), errors="replace"), principal)
        if model is None or not principal.may_use(model.name):
            raise Refusal(404, "model_not_found", "the requested model was not found", "model")
        value = describe(model)
    return dump(value)
