"""Other proxies beside the gateway: the same mock, the same bodies, a key check, the same code.

One at a time, each on the core that the gateway has otherwise, with mock and generator on another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from voidllm import __version__

from ..harness import Failed
from ..progress import Progress
from ..rig import Rig
from ..subjects import MODEL
from .binary import BinaryPeer
from .litellm import LiteLLMPeer
from .lm_proxy import LmProxyPeer
from .measuring import Effort, Measuring
from .nginx import NginxPeer
from .server import Peer, Server
from .table import OURS, table

__all__ = ["NAMES", "OURS", "measure", "prepare", "table"]

_PEERS: dict[str, Callable[[], Peer]] = {
    "nginx": NginxPeer,
    "litellm": LiteLLMPeer,
    "lm-proxy": LmProxyPeer,
}
#: What ``--against`` can name.
NAMES = tuple(_PEERS)


def prepare(names: Sequence[str], options: Mapping[str, Any], say: Callable[[str], None]) -> list[Peer]:
    """Install or find the peers; the first time this takes minutes, later no time.

    To be called before anything is measured, so that what cannot be had is known at once.

    :param options: of the command line; ``peer_binary`` counts.
    :raises Failed: a name is not known, or a peer cannot be had; with a text for people.
    """
    unknown = [name for name in names if name not in _PEERS]
    if unknown:
        raise Failed(f"--against: no such peer: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    peers = [_PEERS[name]() for name in dict.fromkeys(names)]
    if options.get("peer_binary"):
        peers.append(BinaryPeer(Path(options["peer_binary"])))
    for peer in peers:
        peer.prepare(say)
    return peers


def measure(
    names: Sequence[str], system: Rig, options: Mapping[str, Any], found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure the gateway and then each peer.

    The gateway is stopped while peers are measured and runs again afterwards.

    :param options: of the command line; ``duration`` (seconds or ``None``), ``seed`` and
        ``peer_binary`` count.
    :param found: gets the figures one by one, so that those before an interruption are there.
    :returns: the same: figures by name, those of the gateway under :data:`OURS`.
    :raises Failed: a peer cannot be had, does not serve, or does not check keys.
    """
    progress = Progress()
    found = {} if found is None else found
    peers = prepare(names, options, progress.say)
    gateway = system.gateway
    system.pin(True)
    measuring = Measuring(
        system.direct(),
        system.mock_pid,
        system.alone,
        Effort.of(options.get("duration")),
        progress,
        options.get("seed", 1),
    )
    gateway.stop()
    try:
        progress.phase(f"peers: {OURS}")
        figures = measuring.measure(OURS, gateway)
        found[OURS] = {**figures, "version": __version__, "usage_rows": True, "notes": list(_OUR_NOTES)}
        for peer in peers:
            progress.phase(f"peers: {peer.name}")
            server = Server(peer, system.folder / f"peer-{peer.name}", system.mock.port, MODEL)
            figures = measuring.measure(peer.name, server)
            about = {"version": peer.version, "usage_rows": peer.usage_rows, "notes": list(peer.notes)}
            found[peer.name] = {**figures, **about}
    finally:
        progress.end()
    gateway.start(measuring.body)
    return found


_OUR_NOTES = (
    "key, limits on key and organisation, prices and a usage row for each request on; SQLite store",
    "cold start with an existing store",
)
