"""What a worker is told to be, on its way from the control plane."""

from __future__ import annotations

from attrs import field, frozen
from msgspec import msgpack

from voidllm.http.pool_settings import PoolSettings
from voidllm.http.settings import FrontSettings
from voidllm.proxy.settings import ProxySettings
from voidllm.usage.settings import UsageSettings


@frozen
class Plan:
    """Everything that a worker needs of the configuration, which it never reads itself.

    :ivar boot: names this life of the worker in its journal segments.
    :ivar tls: certificate chain and key, as read at the gateway's start, so that all workers have
        the same, whenever they are started; ``None`` for plain TCP.
    """

    boot: str
    state_dir: str
    front: FrontSettings
    engine: str
    pool: PoolSettings
    proxy: ProxySettings
    usage: UsageSettings
    tls: tuple[bytes, bytes] | None = field(repr=False)
    log_level: str
    log_format: str


encode_plan = msgpack.Encoder().encode
decode_plan = msgpack.Decoder(Plan).decode
