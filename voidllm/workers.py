"""The control plane's workers: started, told what is in force, watched, replaced."""

from __future__ import annotations

import os
import socket
from typing import Any, Callable, Collection

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voidllm.census import Census
from voidllm.core.errors import VoidLLMError
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.life import Life, spawn
from voidllm.limits.shared import CellBook, SharedLimiter, SharedTable, create_table
from voidllm.link import messages
from voidllm.link.feed import change_frame
from voidllm.link.listener import Places
from voidllm.plan import Plan, encode_plan
from voidllm.telemetry.fleet import Fleet
from voidllm.vigil import CHECK_S, Hearing, Restarts, Vigil

_log = Logger()
# After the patience of a drain: for last words, journals and connections.
_GRACE_S = 5.0
# A place whose worker ended so often soon after its start has nobody who accepts for a second or more.
_DESERTED = 2


class WorkersCannotStart(VoidLLMError):
    """A worker ends again and again before it could answer anything."""


class Workers:
    """Runs the processes that answer requests, and a socket for each of them.

    :param bind: gives so many sockets that listen on one address with ``SO_REUSEPORT``. They stay
        open here, so that connections wait for a worker's successor.
    :param metrics: told what they count.
    :ivar limiter: counts in the first column of the table that all processes share.
    """

    def __init__(
        self, world: World, size: int, bind: Callable[[int], list[socket.socket]], metrics: Fleet
    ) -> None:
        self.size = size
        self._table_fd = create_table(self.size + 1)
        self.limiter = SharedLimiter(SharedTable.attach(self._table_fd), 0)
        self.cells: Callable[[str, str], int] | None = CellBook(world.wall_ms)
        self._world = world
        self._bind = bind
        self._places: Places | None = None
        self._metrics = metrics
        self._holder = SnapshotHolder()
        self._site: Any = None
        self._plan: Plan | None = None
        self._lives: dict[int, Life] = {}
        self._restarts = Restarts()
        self._timers: set[Any] = set()
        self._lock_fd = -1
        self._null_fd = -1
        self._opened: messages.Open | None = None
        self._sealed: Callable[[str], None] = lambda _: None
        self._seen: Snapshot | None = None
        self._ready: Deferred[None] | None = None
        self._census = Census(world.reactor)
        self._ending: Deferred[None] | None = None
        self._vigil: Vigil | None = None
        self._check = LoopingCall(self._look)
        self._check.clock = world.reactor

    # -- start

    def attach(self, holder: SnapshotHolder, site: Any, plan: Plan) -> None:
        """Say what they are to be.

        :param holder: whose snapshots are theirs.
        :param site: the factory that gets what is not the data plane's.
        :param plan: what all of them are told; ``boot`` is set for each life.
        """
        self._holder = holder
        self._site = site
        self._plan = plan

    def getHost(self) -> Any:
        """Give the address that all of them listen on, as a Twisted port does."""
        assert self._places is not None
        host, port = self._places.name[:2]
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)

    async def begin(self, lock_fd: int) -> None:
        """Start every worker; each has its port, but says that the gateway is starting.

        :raises OSError: if there are no processes or descriptors left.
        """
        self._places = Places(self._bind(self.size))
        self._lock_fd = lock_fd
        self._null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for number in range(1, self.size + 1):
            self._spawn(number)
        self._vigil = Vigil(self._world.reactor.seconds)
        looking = self._check.start(CHECK_S, now=False)
        looking.addErrback(lambda failure: _log.failure("workers are not watched any more", failure))

    async def open(self, box: str, digest_key: bytes, sealed: Callable[[str], None]) -> None:
        """Let them answer requests; returns once all of them do.

        :raises WorkersCannotStart: if one of them never gets that far.
        """
        self._opened = messages.Open(box, digest_key)
        self._sealed = sealed
        self._holder.subscribe(self._changed)
        self._seen = self._holder.current
        self._ready = Deferred()
        for life in self._lives.values():
            self._tell(life)
        self._judge()
        await self._ready

    def _judge(self) -> None:
        """See whether all are ready for the first time, or never will be."""
        waiting = self._ready
        if waiting is None or waiting.called or self._ending is not None:
            return
        if sum(life.ready for life in self._lives.values()) == self.size:
            waiting.callback(None)
            return
        for number in range(1, self.size + 1):
            ends = self._restarts.in_a_row(number)
            if ends >= self._restarts.hopeless_after:
                waiting.errback(
                    WorkersCannotStart(
                        f"worker {number} has ended {ends} times before it could answer; the log says why"
                    )
                )
                return

    # -- who there is

    def writers(self) -> Collection[tuple[int, str]]:
        """Name the journal writers that may still append: those whose process is not known to be dead."""
        return [(life.number, life.boot) for life in self._lives.values()]

    def roster(self) -> list[dict[str, Any]]:
        """Describe every worker for operators, by number."""
        now_s = self._world.reactor.seconds()
        return [
            {
                "worker": life.number,
                "pid": life.pid,
                "uptime_seconds": int(now_s - life.started_s),
                "ready": life.ready,
            }
            for _, life in sorted(self._lives.items())
        ]

    def _spawn(self, number: int) -> None:
        world = self._world
        assert self._plan is not None and self._places is not None
        boot = f"{world.wall_ms():x}{world.random_bytes(4).hex()}"
        now_s = world.reactor.seconds()
        life = Life(number, boot, evolve(self._plan, boot=boot), now_s, Hearing(now_s))
        spawn(
            world,
            life,
            self._site,
            listener_fd=self._places.fileno(number - 1),
            shared_fds=(self._table_fd, self._lock_fd),
            null_fd=self._null_fd,
            got=lambda message: self._got(life, message),
            broken=lambda: self._line_broken(life),
            ended=lambda status: self._ended(life, status),
        )
        self._lives[number] = life
        self._metrics.alive(number, boot)
        life.link.send(messages.Setup(encode_plan(life.plan), listen=self._opened is None))
        self._tell(life)

    # -- what is in force

    def _tell(self, life: Life) -> None:
        """Give a worker all that it needs to answer, once that is known."""
        if self._opened is not None and not life.told:
            life.told = True
            life.link.send(self._opened)
            life.feed.whole(self._holder.current)

    def _changed(self, snapshot: Snapshot) -> None:
        assert self._seen is not None
        old, self._seen = self._seen, snapshot
        change = change_frame(old, snapshot)
        for life in self._lives.values():
            life.feed.changed(old, snapshot, change)

    def reload(self, plan: Plan) -> None:
        """Tell everybody another plan, of which they take over what can be at run time."""
        self._plan = plan
        for life in self._lives.values():
            life.plan = evolve(plan, boot=life.boot)
            life.link.send(messages.Reload(encode_plan(life.plan)))

    # -- what workers say

    def _got(self, life: Life, message: Any) -> None:
        life.hearing.heard(self._world.reactor.seconds())
        self._metrics.alive(life.number, life.boot)
        if isinstance(message, messages.Metrics):
            self._metrics.update(life.number, life.boot, message.data)
            self._census.answered(life.number, message.number)
        elif isinstance(message, messages.Sealed):
            self._sealed(message.segment)
        elif isinstance(message, messages.WantFull):
            life.feed.whole(self._holder.current)
        elif isinstance(message, messages.Ready):
            life.ready = True
            _log.info(
                "worker {number} answers {seconds} s after its start",
                number=life.number,
                seconds=f"{self._world.reactor.seconds() - life.started_s:.3f}",
            )
            self._judge()

    def refresh(self) -> Deferred[None]:
        """Ask every worker for its numbers; fires when all have told them, or after a second."""
        lives = [life for life in self._lives.values() if life.link.open and not life.link.clogged]
        number, done = self._census.ask([life.number for life in lives])
        for life in lives:
            life.link.send(messages.WantMetrics(number))
        return done

    # -- who lives

    def _look(self) -> None:
        """Replace who has said nothing for long."""
        assert self._vigil is not None
        lives = list(self._lives.values())
        self._vigil.look([life.hearing for life in lives])
        for life in lives:
            silent_s = life.hearing.silent_s(self._world.reactor.seconds())
            if silent_s:
                _log.error(
                    "worker {number} has not been heard for {silent} s and is replaced",
                    number=life.number,
                    silent=f"{silent_s:.0f}",
                )
                life.kill()

    def _line_broken(self, life: Life) -> None:
        # What a worker does without a line to here, nobody can tell it or see.
        if self._lives.get(life.number) is life and self._ending is None:
            life.kill()

    def _ended(self, life: Life, status: str) -> None:
        del self._lives[life.number]
        life.close()
        self._metrics.gone(life.number, life.boot)
        self._census.gone(life.number)
        if self._ending is not None:
            if not self._lives and not self._ending.called:
                self._ending.callback(None)
            return
        lasted_s = self._world.reactor.seconds() - life.started_s
        self._succeed(life.number, f"has ended ({status})", lasted_s)

    def _succeed(self, number: int, what: str, lasted_s: float | None) -> None:
        """Start a successor, sooner or later."""
        assert self._places is not None
        delay_s = self._restarts.ended(number, lasted_s)
        _log.error(
            "worker {number} {what}; its successor starts in {delay} s",
            number=number,
            what=what,
            delay=f"{delay_s:g}",
        )
        if self._restarts.in_a_row(number) >= _DESERTED and self._places.leave(number - 1):
            _log.warn("worker {number} is missed: connections go to the others meanwhile", number=number)
        self._judge()
        if self._ending is None:
            self._later(delay_s, lambda: self._try(number))

    def _try(self, number: int) -> None:
        try:
            self._spawn(number)
        except OSError as error:
            self._succeed(number, f"cannot be started ({os.strerror(error.errno or 0)})", None)

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
        self._census.close()
        if self._ready is not None and not self._ready.called:
            self._ready.callback(None)
        if self._places is not None:
            self._places.close()
        for fd in (self._table_fd, self._null_fd):
            if fd >= 0:
                os.close(fd)
        self._table_fd = self._null_fd = -1

    def _kill_all(self) -> None:
        for life in list(self._lives.values()):
            _log.warn("worker {number} did not end in time and is killed", number=life.number)
            life.kill()
