"""What the control plane and a worker say to each other."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct, msgpack

from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.snapshot import Aliases
from voidllm.core.snapshot_delta import Delta


class Setup(Struct, tag="setup", frozen=True):
    """To a worker, first of all.

    :ivar plan: how it is to be; encoded by whoever starts workers, unknown here.
    :ivar listen: whether to accept connections at once, only to say that the gateway is starting,
        which is right for a first worker. For a successor they wait until it can answer.
    """

    plan: bytes
    listen: bool


class Open(Struct, tag="open", frozen=True):
    """To a worker: the store is there.

    :ivar box: this machine's name in journal segments.
    :ivar digest_key: what API keys are digested with.
    """

    box: str
    digest_key: bytes

    def __repr__(self) -> str:
        return "Open(...)"


class Whole(Struct, tag="whole", frozen=True):
    """To a worker: all of what is in force begins; its keys follow, then :class:`Complete`.

    In pieces, because neither side may do nothing else for as long as 100,000 keys take.
    """

    version: int
    models: dict[str, Model]
    aliases: Aliases


class Keys(Struct, tag="keys", frozen=True):
    """To a worker: some keys of the whole."""

    keys: dict[bytes, Principal]

    def __repr__(self) -> str:
        return "Keys(...)"


class Complete(Struct, tag="complete", frozen=True):
    """To a worker: that was the whole; go by it from now on."""


class Change(Struct, tag="change", frozen=True):
    """To a worker: what is different from the version before."""

    delta: Delta


class Reload(Struct, tag="reload", frozen=True):
    """To a worker: another plan, of which it takes over what can be at run time."""

    plan: bytes


class WantMetrics(Struct, tag="want_metrics", frozen=True):
    """To a worker: give :class:`Metrics` with this number, now."""

    number: int


class Drain(Struct, tag="drain", frozen=True):
    """To a worker: admit nothing, end what runs within so many seconds, and exit."""

    patience_s: float


class Cut(Struct, tag="cut", frozen=True):
    """To a worker: end what runs now, and exit."""


class Alive(Struct, tag="alive", frozen=True):
    """From a worker, every second: its event loop turns."""


class Ready(Struct, tag="ready", frozen=True):
    """From a worker: it answers requests."""


class WantFull(Struct, tag="want_full", frozen=True):
    """From a worker: a change did not fit to what it has."""


class Sealed(Struct, tag="sealed", frozen=True):
    """From a worker: this journal segment is complete."""

    segment: str


class Metrics(Struct, tag="metrics", frozen=True):
    """From a worker: its numbers.

    :ivar number: that of the question, or 0 if nobody asked.
    """

    number: int
    data: bytes


ToWorker: TypeAlias = Setup | Open | Whole | Keys | Complete | Change | Reload | WantMetrics | Drain | Cut
FromWorker: TypeAlias = Alive | Ready | WantFull | Sealed | Metrics

encode = msgpack.Encoder().encode
decode_to_worker = msgpack.Decoder(ToWorker).decode
decode_from_worker = msgpack.Decoder(FromWorker).decode
