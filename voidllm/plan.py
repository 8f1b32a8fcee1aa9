"""What a worker is told to be, on its way from the control plane."""

from __future__ import annotations

from attrs import frozen
from msgspec import msgpack

from voidllm.http.pool_settings import PoolSettings
from voidllm.http.settings import FrontSettings
from voidllm.proxy.settings import ProxySettings
from voidllm.usage.settings import UsageSettings


@frozen
class Plan:
    """Everything that a worker needs of the configuration, which it never reads itself.

    :ivar boot: names this life of the worker in its journal segments.
    :ivar tls: paths of certificate chain and key, or ``None`` for plain TCP.
    """

    boot: str
    state_dir: str
    front: FrontSettings
    engine: str
    pool: PoolSettings
    proxy: ProxySettings
    usage: UsageSettings
    tls: tuple[str, str] | None
    log_level: str
    log_format: str


encode_plan = msgpack.Encoder().encode
decode_plan = msgpack.Decoder(Plan).decode
