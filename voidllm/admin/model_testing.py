"""Asking an upstream whether it answers, with a key that is given or kept."""

from __future__ import annotations

import json
from typing import Annotated, Any

from msgspec import Meta, Struct

from voidllm.admin.access import WRITE
from voidllm.admin.declare import Call, Route
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Asked, Nothing, Text
from voidllm.admin.model_finding import find_deployment, find_model
from voidllm.admin.model_operations import view
from voidllm.admin.model_rules import check_endpoint, given
from voidllm.admin.model_secrets import credential_of, secret_of
from voidllm.admin.model_shapes import ApiKey, BaseUrl, Provider
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.config.models import ModelTLS
from voidllm.config.proxies import proxy_for
from voidllm.core.errors import StateError
from voidllm.core.model import UpstreamTLS
from voidllm.store.model_records import StoredModel
from voidllm.store.statements import storable

TIMEOUT_S = 10.0
MAX_REPLY = 2 * 1024 * 1024
MOST_NAMES = 500
_LONGEST_NAME = 200

#: What an upstream's failure is, for people.
_WHY = {
    "refused": "nobody listens there",
    "dns": "the host name is not known",
    "tls": "the TLS handshake failed, or the certificate is not trusted",
    "connect_timeout": "no connection within 10 s",
    "head_timeout": "no answer within 10 s",
    "stall": "no complete answer within 10 s",
    "cut": "the connection was cut",
    "malformed": "what answers does not speak HTTP",
    "proxy": "the proxy refused",
}


class Probe(Asked):
    """What to ask."""

    provider: Provider
    base_url: BaseUrl | None = None
    api_key: ApiKey | None = None
    credential_id: Annotated[Text, Meta(description="instead of api_key: id or name")] | None = None


class Probed(Struct, kw_only=True, frozen=True):
    """What came of it."""

    success: bool
    message: str
    models: Annotated[list[str], Meta(max_length=MOST_NAMES, description="what the upstream lists")]


async def probe_connection(call: Call[Nothing, Probe]) -> Probed:
    """Ask an upstream for its models.

    :raises Refusal: 400.
    """
    ask = call.body
    found = given(ask)
    check_endpoint(ask.provider, ask.base_url or "")
    credential = await credential_of(call, found)
    if credential is not None and credential.provider != ask.provider:
        raise bad("the credential is for another provider", "credential_id")
    key = ask.api_key or ""
    if credential is not None:
        try:
            key = call.context.secrets.open(credential.api_key, "credentials", "api_key", credential.id)
        except StateError as error:
            return Probed(success=False, message=str(error), models=[])
    return await _probe(call, ask.provider, ask.base_url or "", key, ModelTLS())


async def probe_deployment(call: Call[Nothing, Nothing]) -> Probed:
    """Ask a deployment's upstream for its models, with the key that is kept.

    :raises Refusal: 404.
    """
    model = await find_model(call)
    if isinstance(model, StoredModel):
        one = find_deployment(call, model.deployments)
        credential = await credential_of(call, {"credential_id": one.credential_id})
        try:
            key = secret_of(call, one, credential)
        except StateError as error:
            return Probed(success=False, message=str(error), models=[])
        return await _probe(call, one.provider, one.base_url, key, ModelTLS())
    wanted = find_deployment(call, view(call, model).deployments)
    (place,) = (one for one in model.deployments or (model,) if one.name == wanted.name)
    return await _probe(call, place.provider, place.base_url, place.api_key, place.tls)


async def _probe(call: Call[Any, Any], provider: str, base_url: str, key: str, tls: ModelTLS) -> Probed:
    if provider == "demo":
        return Probed(success=True, message="the demo provider answers by itself", models=[])
    from twisted.internet.error import ConnectionClosed
    from twisted.web.client import ResponseFailed

    from voidllm.http.agent import CallPolicy, UpstreamError
    from voidllm.http.client import BodyTooLarge, PreparedURL, make_client, read_body
    from voidllm.http.pool import UpstreamPool
    from voidllm.http.pool_settings import PoolSettings

    context = call.context
    upstream = context.config().upstream
    proxy = proxy_for(base_url, upstream.proxy, context.environ)
    files = UpstreamTLS(
        tls.ca_file or upstream.ca_file or None, tls.client_cert or None, tls.client_key or None
    )
    policy = CallPolicy(
        tls=files,
        proxy_for=lambda scheme, host, port: proxy,
        connect_timeout_s=TIMEOUT_S,
        head_timeout_s=TIMEOUT_S,
        idle_timeout_s=TIMEOUT_S,
        total_timeout_s=TIMEOUT_S,
    )
    headers: dict[bytes | str, bytes | str] = {"accept": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    pool = UpstreamPool(context.world, PoolSettings(max_per_origin=1, max_waiting=1))
    try:
        url = PreparedURL.of(f"{base_url.rstrip('/')}/models")
        response = await make_client(pool, policy).get(url, headers=headers)
        body = await read_body(response, MAX_REPLY)
    except UpstreamError as error:
        return _failed(_WHY.get(error.failure.kind, "it cannot be reached"))
    except BodyTooLarge:
        return _failed("its answer is too long")
    except (ResponseFailed, ConnectionClosed):
        return _failed(_WHY["cut"])
    finally:
        await pool.close()
    return _read(response.code, body)


def _failed(why: str) -> Probed:
    return Probed(success=False, message=why, models=[])


def _read(status: int, body: bytes) -> Probed:
    """Say what an answer means; nothing of its text is repeated but names of models."""
    if status in (401, 403):
        return _failed(f"it answers {status}: the key is missing or not accepted")
    if status == 404:
        return _failed("it answers 404: base_url must lead up to and with /v1, or it lists no models")
    if 300 <= status < 400:
        return _failed(f"it answers {status}: redirects are not followed")
    if status != 200:
        return _failed(f"it answers {status}")
    names = _names(body)
    if names is None:
        return _failed("it answers, but with no list of models")
    return Probed(success=True, message=f"it answers and lists {len(names)} models", models=names)


def _names(body: bytes) -> list[str] | None:
    try:
        rows = json.loads(body)["data"]
        names = {row["id"] for row in rows}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    fit = (name for name in names if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME)
    return sorted(name for name in fit if storable(name) and name.isprintable())[:MOST_NAMES]


ROUTES = (
    Route(
        "POST",
        "/api/v1/models/test-connection",
        "test_connection",
        "Ask an upstream for its models",
        probe_connection,
        Probed,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=Probe,
        example={"provider": "openai", "base_url": "https://api.example.com/v1", "api_key": "sk-example"},
        description="GET `base_url`/models, for 10 s at most and without following redirects.",
    ),
    Route(
        "POST",
        "/api/v1/models/{model_id}/deployments/{deployment_id}/test-connection",
        "test_deployment",
        "Ask a deployment's upstream for its models, with the key that is kept",
        probe_deployment,
        Probed,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
    ),
)
