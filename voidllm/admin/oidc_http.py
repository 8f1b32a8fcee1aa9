"""Requests to identity providers: few, small, short, and on connections that end with them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Callable, Iterable, Mapping
from urllib.parse import urlencode

from attrs import frozen
from twisted.internet.defer import Deferred

from voidllm.admin.oidc_guard import GuardedResolver
from voidllm.auth.oidc import SignOnRefused
from voidllm.config.sso_rules import provider_url_fault
from voidllm.core.model import UpstreamTLS
from voidllm.core.world import World
from voidllm.http.clientaddr import Network

TIMEOUT_S = 10.0
MAX_REPLY = 512 * 1024

ProxyFor = Callable[[str, str, int], "str | None"]


def direct(scheme: str, host: str, port: int) -> str | None:
    """Use no proxy."""
    return None


@frozen
class Reach:
    """How providers are connected to.

    :ivar networks: those that providers of organisations may be in besides public addresses;
        ``None`` to connect to whatever there is.
    :ivar proxy_for: gives the proxy for (scheme, host, port), or ``None``.
    :ivar in_thread: looks up names that an organisation has chosen; ``None`` for the world's threads.
    """

    networks: tuple[Network, ...] | None = ()
    ca_file: str | None = None
    proxy_for: ProxyFor = direct
    in_thread: Callable[..., Deferred[Any]] | None = None


class Fetcher:
    """Fetches JSON objects from one provider.

    :param client: a treq client, see :mod:`voidllm.http.client`.
    :param guard: checks addresses, if they are checked.
    """

    def __init__(self, client: Any, guard: GuardedResolver | None) -> None:
        self._client = client
        self._guard = guard

    async def get(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
        """Get an object.

        :raises SignOnRefused: ``exchange_failed`` if there is none.
        """
        return await self._fetch("GET", url, headers, None)

    async def post(
        self, url: str, form: Mapping[str, str], headers: Iterable[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        """Send a form and get an object.

        :raises SignOnRefused: ``exchange_failed`` if there is none.
        """
        kind = ("content-type", "application/x-www-form-urlencoded")
        return await self._fetch("POST", url, (*headers, kind), urlencode(form).encode("ascii"))

    async def _fetch(
        self, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes | None
    ) -> dict[str, Any]:
        from voidllm.http.agent import UpstreamError
        from voidllm.http.client import BodyTooLarge, PreparedURL, read_body

        if (fault := provider_url_fault(url, query=True)) is not None:
            raise SignOnRefused("exchange_failed", f"a URL of the identity provider {fault}")
        sent = {"accept": "application/json", **dict(headers)}
        try:
            response = await self._client.request(method, PreparedURL.of(url), headers=sent, data=body)
            text = await read_body(response, MAX_REPLY)
        except UpstreamError as error:
            raise self._unreachable(error.failure.kind) from None
        except BodyTooLarge:
            raise SignOnRefused("exchange_failed", "the identity provider says too much") from None
        except Exception as error:
            # Of the many ways in which a body can end early, none is ours.
            if not _is_cut(error):
                raise
            raise SignOnRefused("exchange_failed", "the identity provider's reply was cut") from None
        if response.code != 200:
            raise SignOnRefused("exchange_failed", f"the identity provider answers {response.code}")
        return _object(text)

    def _unreachable(self, kind: str) -> SignOnRefused:
        if self._guard is not None and self._guard.refused:
            return SignOnRefused(
                "exchange_failed",
                "the identity provider is at an address that is not public (settings.sso.private_networks)",
            )
        return SignOnRefused("exchange_failed", f"the identity provider cannot be reached ({kind})")


@asynccontextmanager
async def fetching(world: World, reach: Reach) -> AsyncIterator[Fetcher]:
    """Open the way to a provider; its connections are gone at the end."""
    from voidllm.http.agent import CallPolicy
    from voidllm.http.client import make_client
    from voidllm.http.pool import UpstreamPool
    from voidllm.http.pool_settings import PoolSettings

    guard = None
    if reach.networks is not None:
        guard = GuardedResolver(world, reach.networks, in_thread=reach.in_thread)
    pool = UpstreamPool(world, PoolSettings(max_per_origin=2, max_waiting=4), resolver=guard)
    policy = CallPolicy(
        tls=UpstreamTLS(ca_file=reach.ca_file),
        # Behind a proxy it is the proxy that chooses the address, so nothing would be checked.
        proxy_for=direct if guard is not None else reach.proxy_for,
        head_timeout_s=TIMEOUT_S,
        idle_timeout_s=TIMEOUT_S,
        total_timeout_s=TIMEOUT_S,
        may_resend=False,
    )
    try:
        yield Fetcher(make_client(pool, policy), guard)
    finally:
        await pool.close()


def _is_cut(error: Exception) -> bool:
    from twisted.internet.error import ConnectionClosed
    from twisted.web.client import ResponseFailed

    return isinstance(error, (ResponseFailed, ConnectionClosed))


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SignOnRefused(
            "exchange_failed", "the identity provider answers something that is no JSON object"
        )
    return value
