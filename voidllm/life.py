"""One worker process as its control plane knows it, from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any, Callable, Sequence

from attrs import define, field
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from voidllm.core.world import World
from voidllm.link import messages
from voidllm.link.feed import Feed
from voidllm.link.link import Link, connect
from voidllm.link.relay_listener import RelayListener
from voidllm.link.relay_wire import relay_channel
from voidllm.plan import Plan
from voidllm.vigil import Hearing

_log = Logger()
_MOST_FROM_WORKER = 16 << 20
# No garbage is looked for while it imports, which was 30 of 290 ms; ``main`` allows it again.
_RUN = "import gc; gc.disable(); from voidllm.worker_main import main; main()"


@define(eq=False)
class Life:
    """One process at one place.

    :ivar told: whether it knows of the store and got its first snapshot.
    :ivar ready: whether it answers requests.
    :ivar feed: sends it snapshots.
    """

    number: int
    boot: str
    plan: Plan
    started_s: float
    hearing: Hearing
    link: Any = field(default=None, repr=False)
    feed: Any = field(default=None, repr=False)
    relay: Any = field(default=None, repr=False)
    process: Any = field(default=None, repr=False)
    told: bool = False
    ready: bool = False

    @property
    def pid(self) -> int:
        """Its process id, 0 when it has ended."""
        return (self.process is not None and self.process.pid) or 0

    def kill(self) -> None:
        """End the process at once; its end is told as any other."""
        try:
            self.process.signalProcess("KILL")
        except (ProcessExitedAlready, ProcessLookupError):
            # Between its end and our hearing of it.
            _log.debug("worker {number} has ended already", number=self.number)

    def close(self) -> None:
        """Close what led to it."""
        if self.relay is not None:
            self.relay.stop()
        self.feed.close()
        self.link.close()


def spawn(
    world: World,
    life: Life,
    site: Any,
    listener_fd: int,
    shared_fds: Sequence[int],
    null_fd: int,
    got: Callable[[Any], None],
    broken: Callable[[], None],
    ended: Callable[[str], None],
) -> None:
    """Start the process of ``life``, with a line and a relay to it.

    :param site: gets the connections that it does not answer itself.
    :param listener_fd: where it accepts connections.
    :param shared_fds: what all of them have, the table of limits and the lock.
    :param null_fd: its standard input.
    :param got: called with each of its messages.
    :param broken: called when the line is gone.
    :param ended: called with what the process ended by.
    :raises OSError: if there are no processes or descriptors left; nothing is left open then.
    """
    life.feed = Feed(world.reactor)
    link = life.link = Link(messages.decode_from_worker, got, broken, _MOST_FROM_WORKER, life.feed.flow)
    life.feed.attach(link)
    here, there = socket.socketpair()
    with here, there:
        relay_here, relay_there = relay_channel()
        with relay_here, relay_there:
            connect(world.reactor, here, link)
            fds = [null_fd, 1, 2, listener_fd, there.fileno(), relay_there.fileno(), *shared_fds]
            watched = Watched(ended)
            try:
                life.process = world.reactor.spawnProcess(
                    watched,
                    sys.executable,
                    [sys.executable, "-P", "-c", _RUN, str(life.number)],
                    env=environment(os.environ),
                    childFDs=dict(enumerate(fds)),
                )
            except OSError:
                link.close()
                raise
            life.relay = RelayListener(world.reactor, relay_here.detach(), site)
            life.relay.start()
            watched.begin(world.reactor)


def environment(own: Any) -> dict[str, str]:
    """Give what a worker inherits of an environment: settings and secrets of the gateway are not its."""
    return {
        name: value
        for name, value in own.items()
        if not name.startswith(("VOIDLLM_", "WATCHDOG_")) and name not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")
    }


class Watched(ProcessProtocol):
    """Learns of a process' end.

    :param ended: called with the name of the signal, or the exit status.
    """

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._begun = False
        self._early: str | None = None

    def begin(self, reactor: Any) -> None:
        """Tell of the end from now on, also of one that came before whoever started it knew of it."""
        self._begun = True
        if self._early is not None:
            reactor.callLater(0, self._ended, self._early)

    def processEnded(self, reason: Any) -> None:
        """Tell how it ended; Twisted may say so while it is still starting it."""
        number = getattr(reason.value, "signal", None)
        status = getattr(reason.value, "exitCode", None)
        how = _name(number) if number else f"status {status}"
        if self._begun:
            self._ended(how)
        else:
            self._early = how


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Most of the real-time signals have none.
        return f"signal {number}"
