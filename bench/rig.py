"""Everything that a run starts, and its end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Iterator

from attrs import define, field

from . import generator
from .gateway import Gateway
from .harness import CORES, LOAD_CORE, SERVER_CORE, Mock, children, family, rss_mb
from .measure import DIRECT, PROXIED, Side
from .sampler import scrape
from .subjects import SMALL, chat_body
from .validity import Alone

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise :exc:`KeyboardInterrupt`, as SIGINT does."""
    before = [(number, signal.signal(number, _interrupt)) for number in _ENDS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@define
class Rig:
    """A mock and a configured gateway; both are started when first asked for.

    As a context manager it ends whatever was started, whatever happens; signals to end are ignored
    meanwhile.

    :ivar port: where the gateway listens; 0 for a free one.
    :ivar keep: leave the folder with logs and state.
    """

    port: int = 0
    keep: bool = False
    workers: str | None = None
    cold_start_s: tuple[float, float] | None = None
    _folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="voidllm-bench-")))
    _mock: Mock | None = None
    _gateway: Gateway | None = None
    _alone: Alone | None = None
    _others: set[int] = field(factory=set)

    def __enter__(self) -> Rig:
        self._others = set(children(os.getpid()))
        # This process polls while something starts; on the server's core it would be in the way.
        os.sched_setaffinity(0, {LOAD_CORE})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in _ENDS]
        try:
            if self._gateway is not None:
                self._gateway.stop()
            if self._mock is not None:
                self._mock.stop()
            for pid in set(children(os.getpid())) - self._others:
                _end(pid)
        finally:
            if not self.keep:
                shutil.rmtree(self._folder, ignore_errors=True)
            os.sched_setaffinity(0, CORES)
            for number, handler in before:
                signal.signal(number, handler)

    @property
    def folder(self) -> Path:
        """Logs, configurations and state of all that was started."""
        return self._folder

    @property
    def mock(self) -> Mock:
        """The mock."""
        if self._mock is None:
            self._mock = Mock(self._folder)
            self._mock.start()
        return self._mock

    @property
    def alone(self) -> Alone:
        """What generator and mock can do without a gateway."""
        if self._alone is None:
            got = generator.closed(
                self.mock.port, chat_body(SMALL), seconds=1.0, watch=(self.mock_pid,), core=LOAD_CORE
            )
            cpu = (got.own_cpu_s + sum(got.watched_cpu_s)) * 1e6 / max(1, got.completed)
            self._alone = Alone(round(got.rps, 1), round(cpu, 2), got.generator)
        return self._alone

    @property
    def gateway(self) -> Gateway:
        """The gateway, started with limits and warm."""
        if self._gateway is None:
            self._gateway = Gateway(
                self._folder / "gateway", self.mock.port, port=self.port, workers=self.workers
            )
            self.cold_start_s = self._gateway.start_with_limits(chat_body(SMALL))
        return self._gateway

    def direct(self) -> Side:
        """The way to the mock without anything between."""
        return Side(DIRECT, self.mock.port, (), lambda subject: subject.direct_path)

    def proxied(self) -> Side:
        """The way through the gateway; subjects that it does not have yet are not on it."""
        gateway = self.gateway
        return Side(
            PROXIED,
            gateway.port,
            tuple(f"{name}: {value}" for name, value in gateway.headers.items()),
            lambda subject: None if subject.skipped else subject.gateway_path,
            gateway.pids,
        )

    def metrics(self) -> str:
        """Give the text of the gateway's metrics."""
        return scrape(self.gateway.port, self.gateway.headers)

    def restart(self) -> None:
        """Start the gateway anew, on the same state."""
        self.gateway.stop()
        self.gateway.start(chat_body(SMALL))

    def settle(self, seconds: float = 0.5) -> None:
        """Let the gateway come to rest."""
        time.sleep(seconds)

    def rss_mb(self) -> float:
        """Give the memory of all the gateway's processes."""
        return rss_mb(self.gateway.pid or 0)

    def processes(self) -> int:
        """Give how many processes the gateway has."""
        return max(1, len(self.gateway.pids()))

    def mock_late_ns(self) -> int | None:
        """Give the P99 of the lateness of the mock's timer since this was asked last."""
        late = self.mock.configure(reset=1).get("late_p99_us")
        return None if late is None else int(late * 1000)

    def pin(self, apart: bool) -> int | None:
        """Give gateway a core and mock and generator another, or all of them all cores.

        :returns: where the generator is to run.
        """
        for pid in self.gateway.pids():
            _affinity(pid, {SERVER_CORE} if apart else set(CORES))
        _affinity(self.mock_pid, {LOAD_CORE} if apart else set(CORES))
        # Generators are started by this process and inherit where it may run.
        os.sched_setaffinity(0, {LOAD_CORE} if apart else CORES)
        return LOAD_CORE if apart else None

    @property
    def mock_pid(self) -> int:
        """The mock's process."""
        pid = self.mock.process_id
        assert pid is not None
        return pid


def _affinity(pid: int, cores: set[int]) -> None:
    for task in _tasks(pid):
        try:
            os.sched_setaffinity(task, cores)
        except ProcessLookupError:
            continue


def _tasks(pid: int) -> Iterator[int]:
    yield from (int(name) for name in os.listdir(f"/proc/{pid}/task"))


def _end(pid: int) -> None:
    """Kill a process of ours that outlived its owner, with all that it started."""
    for one in reversed(family(pid)):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
