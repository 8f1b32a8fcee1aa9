"""The ways to carry a call to an upstream, as the configuration chose them."""

from __future__ import annotations

from typing import Any

from attrs import define

from voidllm.core.world import World
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.proxy.inprocess import InProcessPool


@define
class Upstreams:
    """The ways to carry a call; each provides ``IUpstreamPool``.

    :ivar pool: the connections under all of them.
    """

    pool: UpstreamPool
    buffered: Any
    streaming: Any
    in_process: InProcessPool


def make_upstreams(world: World, engine: str, settings: PoolSettings) -> Upstreams:
    """Build the upstream pool and the engines on it.

    :param engine: ``auto``, ``treq`` or ``direct``. With ``auto`` streams go through treq, where
        its cost per event is nil, and buffered calls drive the pool directly, because there it
        costs more than the rest of the call.
    """
    pool = UpstreamPool(world, settings)
    in_process = InProcessPool(world.reactor)
    if engine == "direct":
        return Upstreams(pool, pool, pool, in_process)
    from voidllm.http.treq_engine import TreqEngine

    treq_engine = TreqEngine(pool)
    return Upstreams(pool, treq_engine if engine == "treq" else pool, treq_engine, in_process)
