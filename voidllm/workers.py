"""The control plane's workers: started, told what is in force, watched, replaced."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any, Callable, Collection

from attrs import define, evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.limits.shared import CellBook, SharedLimiter, SharedTable, create_table
from voidllm.link import messages
from voidllm.link.delta import difference
from voidllm.link.framing import frame
from voidllm.link.link import Link, connect
from voidllm.link.relay_listener import RelayListener
from voidllm.link.relay_wire import relay_channel
from voidllm.plan import Plan, encode_plan
from voidllm.telemetry.fleet import Fleet

_log = Logger()

#: Silence after which a worker is taken for hung.
SILENT_S = 5.0
# The same for one that has not said anything yet: a busy machine takes long to start a program.
_STARTING_S = 30.0
_CHECK_S = 1.0
#: A worker that ends sooner than this after its start is replaced more and more slowly.
_LASTING_S = 5.0
_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)
_METRICS_S = 1.0
# After the patience of a drain: for last words, journals and connections.
_GRACE_S = 4.0
_MOST_FROM_WORKER = 16 << 20
# No garbage is looked for while it imports, which was 30 of 290 ms; ``main`` allows it again.
_RUN = "import gc; gc.disable(); from voidllm.worker import main; main()"


@define(eq=False)
class _Life:
    """One process at one place.

    :ivar told: whether it knows of the store and got its first snapshot.
    :ivar behind: whether it missed changes because it did not read.
    """

    number: int
    boot: str
    plan: Plan
    link: Any
    relay: Any = None
    process: Any = None
    started_s: float = 0.0
    heard_s: float = 0.0
    heard: bool = False
    told: bool = False
    ready: bool = False
    behind: bool = False


class Workers:
    """Runs the processes that answer requests, and a socket for each of them.

    :param plan: what all of them are told; ``boot`` is set for each life.
    :param bind: gives so many sockets that listen on one address with ``SO_REUSEPORT``. They stay
        open here, so that connections wait for a worker's successor.
    :param metrics: told what they count.
    :ivar limiter: counts in the first column of the table that all processes share.
    """

    def __init__(
        self, world: World, plan: Plan, size: int, bind: Callable[[int], list[socket.socket]], metrics: Fleet
    ) -> None:
        self.size = size
        self._table_fd = create_table(self.size + 1)
        self.limiter = SharedLimiter(SharedTable.attach(self._table_fd), 0)
        self.cells: Callable[[str, str], int] | None = CellBook(world.wall_ms)
        self._world = world
        self._plan = plan
        self._bind = bind
        self._sockets: list[socket.socket] = []
        self._holder = SnapshotHolder()
        self._metrics = metrics
        self._site: Any = None
        self._lives: dict[int, _Life] = {}
        self._quick: dict[int, int] = {}
        self._timers: set[Any] = set()
        self._lock_fd = -1
        self._null_fd = -1
        self._opened: messages.Open | None = None
        self._sealed: Callable[[str], None] = lambda _: None
        self._seen: Snapshot | None = None
        self._whole: tuple[int, bytes] = (-1, b"")
        self._ready: Deferred[None] | None = None
        self._asked: dict[int, tuple[set[int], Deferred[None]]] = {}
        self._question = 0
        self._ending: Deferred[None] | None = None
        self._check = LoopingCall(self._look)
        self._check.clock = world.reactor
        self._looked_s = 0.0

    # -- start

    def attach(self, holder: SnapshotHolder, site: Any) -> None:
        """Say whose snapshots are theirs, and which factory gets what is not the data plane's."""
        self._holder = holder
        self._site = site

    def getHost(self) -> Any:
        """Give the address that all of them listen on, as a Twisted port does."""
        one = self._sockets[0]
        kind = IPv6Address if one.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", *one.getsockname()[:2])

    async def begin(self, lock_fd: int) -> None:
        """Start every worker; each has its port, but says that the gateway is starting."""
        self._sockets = self._bind(self.size)
        self._lock_fd = lock_fd
        self._null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for number in range(1, self.size + 1):
            self._spawn(number)
        self._looked_s = self._world.reactor.seconds()
        looking = self._check.start(_CHECK_S, now=False)
        looking.addErrback(lambda failure: _log.failure("workers are not watched any more", failure))

    async def open(self, box: str, digest_key: bytes, sealed: Callable[[str], None]) -> None:
        """Let them answer requests; returns once all of them do."""
        self._opened = messages.Open(box, digest_key)
        self._sealed = sealed
        self._holder.subscribe(self._changed)
        self._seen = self._holder.current
        self._ready = Deferred()
        for life in self._lives.values():
            self._tell(life)
        self._judge()
        await self._ready

    def writers(self) -> Collection[tuple[int, str]]:
        """Name the journal writers that may still append: those whose process is not known to be dead."""
        return [(life.number, life.boot) for life in self._lives.values()]

    def pids(self) -> dict[int, int]:
        """Give the process id of every worker by its number."""
        return {life.number: life.process.pid for life in self._lives.values() if life.process.pid}

    def _spawn(self, number: int) -> None:
        world = self._world
        boot = f"{world.wall_ms():x}{world.random_bytes(4).hex()}"
        now_s = world.reactor.seconds()
        life = _Life(number, boot, evolve(self._plan, boot=boot), None, started_s=now_s, heard_s=now_s)
        life.link = Link(
            messages.decode_from_worker,
            lambda message: self._got(life, message),
            lambda: self._line_broken(life),
            _MOST_FROM_WORKER,
            lambda: self._flowing(life),
        )
        here, there = socket.socketpair()
        relay_here, relay_there = relay_channel()
        with there, relay_there:
            connect(world.reactor, here, life.link)
            life.relay = RelayListener(world.reactor, relay_here.detach(), self._site)
            life.relay.start()
            fds = [
                self._null_fd,
                1,
                2,
                self._sockets[number - 1].fileno(),
                there.fileno(),
                relay_there.fileno(),
                self._table_fd,
                self._lock_fd,
            ]
            life.process = world.reactor.spawnProcess(
                _Watched(lambda status: self._ended(life, status)),
                sys.executable,
                [sys.executable, "-P", "-c", _RUN, str(number)],
                env=None,
                childFDs=dict(enumerate(fds)),
            )
        self._lives[number] = life
        self._metrics.alive(number, boot)
        life.link.send(messages.Setup(encode_plan(life.plan), listen=self._opened is None))
        self._tell(life)

    # -- what is in force

    def _tell(self, life: _Life) -> None:
        """Give a worker all that it needs to answer, once that is known."""
        if self._opened is not None and not life.told:
            life.told = True
            life.link.send(self._opened)
            self._send_whole(life)

    def _send_whole(self, life: _Life) -> None:
        snapshot = self._holder.current
        if self._whole[0] != snapshot.version:
            self._whole = (snapshot.version, frame(messages.encode(messages.Full(snapshot))))
        life.behind = False
        life.link.send_encoded(self._whole[1])

    def _changed(self, snapshot: Snapshot) -> None:
        assert self._seen is not None
        change = frame(messages.encode(messages.Change(difference(self._seen, snapshot))))
        self._seen = snapshot
        self._whole = (-1, b"")
        for life in self._lives.values():
            if life.link.clogged:
                # It gets the whole when it has read what is on its way: bounded, and no change is missed.
                life.behind = True
            elif life.told:
                life.link.send_encoded(change)

    def _flowing(self, life: _Life) -> None:
        if life.behind:
            self._send_whole(life)

    def reload(self, plan: Plan) -> None:
        """Tell everybody another plan, of which they take over what can be at run time."""
        self._plan = plan
        for life in self._lives.values():
            life.plan = evolve(plan, boot=life.boot)
            life.link.send(messages.Reload(encode_plan(life.plan)))

    # -- what workers say

    def _got(self, life: _Life, message: Any) -> None:
        life.heard_s = self._world.reactor.seconds()
        life.heard = True
        self._metrics.alive(life.number, life.boot)
        if isinstance(message, messages.Metrics):
            self._metrics.update(life.number, life.boot, message.data)
            self._answered(life.number, message.number)
        elif isinstance(message, messages.Sealed):
            self._sealed(message.segment)
        elif isinstance(message, messages.WantFull):
            self._send_whole(life)
        elif isinstance(message, messages.Ready):
            life.ready = True
            self._judge()

    def _judge(self) -> None:
        waiting = self._ready
        if waiting is not None and not waiting.called:
            ready = sum(life.ready for life in self._lives.values())
            if ready == self.size:
                waiting.callback(None)

    def refresh(self) -> Deferred[None]:
        """Ask every worker for its numbers; fires when all have told them, or after a second."""
        done: Deferred[None] = Deferred()
        wanted = {life.number for life in self._lives.values() if life.link.open}
        if not wanted:
            done.callback(None)
            return done
        self._question += 1
        question = self._question
        self._asked[question] = (wanted, done)
        late = self._world.reactor.callLater(_METRICS_S, self._give_up, question)

        def over(_: Any) -> None:
            if late.active():
                late.cancel()

        done.addCallback(over)
        for life in self._lives.values():
            life.link.send(messages.WantMetrics(question))
        return done

    def _answered(self, number: int, question: int) -> None:
        asked = self._asked.get(question)
        if asked is not None:
            asked[0].discard(number)
            if not asked[0]:
                self._give_up(question)

    def _give_up(self, question: int) -> None:
        asked = self._asked.pop(question, None)
        if asked is not None:
            asked[1].callback(None)

    # -- who lives

    def _look(self) -> None:
        """Replace who has said nothing for long."""
        now_s = self._world.reactor.seconds()
        late_s = now_s - self._looked_s - _CHECK_S
        self._looked_s = now_s
        if late_s > _CHECK_S:
            # It was this process that slept; what they said meanwhile has not been read yet.
            return
        for life in self._lives.values():
            if now_s - life.heard_s > (SILENT_S if life.heard else _STARTING_S):
                _log.error(
                    "worker {number} has not been heard for {silent} s and is replaced",
                    number=life.number,
                    silent=f"{now_s - life.heard_s:.0f}",
                )
                self._kill(life)

    def _line_broken(self, life: _Life) -> None:
        # What a worker does without a line to here, nobody can tell it or see.
        if self._lives.get(life.number) is life and self._ending is None:
            self._kill(life)

    def _kill(self, life: _Life) -> None:
        try:
            life.process.signalProcess("KILL")
        except Exception as gone:
            # Between its end and our hearing of it.
            _log.debug(
                "worker {number} has ended already: {why}", number=life.number, why=type(gone).__name__
            )

    def _ended(self, life: _Life, status: str) -> None:
        del self._lives[life.number]
        life.relay.stop()
        life.link.close()
        self._metrics.gone(life.number, life.boot)
        for question, (wanted, _) in list(self._asked.items()):
            if life.number in wanted:
                self._answered(life.number, question)
        if self._ending is not None:
            if not self._lives and not self._ending.called:
                self._ending.callback(None)
            return
        lasted_s = self._world.reactor.seconds() - life.started_s
        quick = self._quick.get(life.number, 0) + 1 if lasted_s < _LASTING_S else 0
        self._quick[life.number] = quick
        delay_s = _BACKOFF_S[min(quick, len(_BACKOFF_S) - 1)]
        _log.error(
            "worker {number} has ended ({status}); its successor starts in {delay} s",
            number=life.number,
            status=status,
            delay=f"{delay_s:g}",
        )
        self._later(delay_s, lambda: self._spawn(life.number))

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        def ring() -> None:
            self._timers.discard(timer)
            do()

        timer = self._world.reactor.callLater(delay_s, ring)
        self._timers.add(timer)

    # -- the end

    def drain(self, patience_s: float) -> None:
        """Tell everybody to end what runs and exit; nobody is replaced from now on."""
        if self._ending is not None:
            return
        self._ending = Deferred()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for life in self._lives.values():
            life.link.send(messages.Drain(patience_s))
        if not self._lives:
            self._ending.callback(None)

    def cut(self) -> None:
        """Tell everybody, now and not at the end of this turn, to end at once."""
        for life in self._lives.values():
            if life.link.open:
                life.link.send(messages.Cut())
                life.link.transport.doWrite()

    async def stop(self, patience_s: float) -> None:
        """Wait until everybody has exited, for as long as the drain allows; kill who has not."""
        self.drain(patience_s)
        assert self._ending is not None
        late = self._world.reactor.callLater(patience_s + _GRACE_S, self._kill_all)
        await self._ending
        if late.active():
            late.cancel()
        if self._check.running:
            self._check.stop()
        if self._ready is not None and not self._ready.called:
            self._ready.callback(None)
        for one in self._sockets:
            one.close()
        for fd in (self._table_fd, self._null_fd):
            if fd >= 0:
                os.close(fd)

    def _kill_all(self) -> None:
        for life in list(self._lives.values()):
            _log.warn("worker {number} did not end in time and is killed", number=life.number)
            self._kill(life)


class _Watched(ProcessProtocol):
    """Learns of a process' end."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Any) -> None:
        """Tell how it ended."""
        number = getattr(reason.value, "signal", None)
        status = getattr(reason.value, "exitCode", None)
        self._ended(signal.Signals(number).name if number else f"status {status}")
