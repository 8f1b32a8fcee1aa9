"""The load generators, C and Python, against known schedules and servers whose faults are known."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench.generator import OUTCOMES, GeneratorFailed, Job, calibrate, closed, mock_counters, run
from bench.programs import command

#: What a server does with a request, told its number in order of arrival.
Behaviour = Callable[[int, asyncio.StreamWriter], Awaitable[None]]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MS = 1_000_000


def every(ms: float, count: int) -> array[int]:
    """Make arrivals at one distance."""
    return array("Q", (int(n * ms * MS) for n in range(count)))


def good(body: bytes = b'{"ok":true}') -> bytes:
    """Make a good reply."""
    return _HEAD % (len(body), body)


def stream(numbers: Iterable[int], end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Make an event stream with these events at once."""
    events = [b'data: {"content":"t=%019d n=%09d"}\n\n' % (time.monotonic_ns(), n) for n in numbers]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in [*events, end] if e)
    return _STREAM + chunks + b"0\r\n\r\n"


def middle(values: Iterable[int]) -> int:
    """Give the median."""
    found = sorted(values)
    return found[len(found) // 2]


class Server:
    """An HTTP server in a thread of its own that does as told, and notes when each request came."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour, self.port, self.seen = behaviour, 0, array("Q")
        self.heads: list[bytes] = []
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._up.wait(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._caller, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._end.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.seen.append(time.monotonic_ns())
                self.heads.append(head)
                await self.behaviour(len(self.seen) - 1, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


class Rig(SynchronousTestCase):
    """Servers for one test, and a choice of the generator."""

    program = "c"

    def setUp(self) -> None:
        """Use this class's generator."""
        native = "1" if self.program == "c" else "0"
        patch = mock.patch.dict(os.environ, VOIDLLM_BENCH_NATIVE=native)
        patch.start()
        self.addCleanup(patch.stop)

    def serve(self, behaviour: Behaviour) -> Server:
        """Start a server."""
        server = Server(behaviour)
        self.addCleanup(server.stop)
        return server

    def mock(self, **options: int) -> tuple[int, int]:
        """Start the mock; give its port and process."""
        started = command("mock")
        words = [w for k, v in options.items() for w in ("--" + k.replace("_", "-"), str(v))]
        process = subprocess.Popen(
            [*started.words, *words], env=started.environ, stdout=subprocess.PIPE, text=True
        )

        def stop() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        assert process.stdout is not None
        return int(process.stdout.readline().split()[1]), process.pid


class Schedules(Rig):
    """When requests leave, and from when latency counts."""

    def test_arrivals_are_followed(self) -> None:
        """Requests reach a server when a constant, a random and a stepped schedule say so."""
        drawn = random.Random(4)
        at, poisson = 0.0, array("Q")
        while len(poisson) < 80:
            poisson.append(int(at))
            at += drawn.expovariate(200) * 1e9
        steps = array("Q", [*every(10, 20), *(200 * MS + t for t in every(2, 50))])
        for arrivals in (every(5, 80), poisson, steps):
            server = self.serve(lambda number, writer: self.reply(writer, good()))
            got = run(Job(server.port, b"{}", arrivals, connections=32, skip=10))
            self.assertEqual((len(server.seen), got.errors), (len(arrivals), {}))
            self.assertEqual(got.intended_ns, arrivals[10:])
            drift = [seen - due for seen, due in zip(server.seen, arrivals, strict=True)]
            self.assertLess(middle(abs(one - middle(drift)) for one in drift), 40 * MS)
            self.assertLess(middle(got.late_ns), 40 * MS)

    async def reply(self, writer: asyncio.StreamWriter, wire: bytes) -> None:
        """Send a whole reply."""
        writer.write(wire)

    def test_a_stall_slows_no_arrivals(self) -> None:
        """While a server answers nothing, requests go on leaving, and what they wait is their latency."""
        answers: list[asyncio.StreamWriter] = []

        async def stalls(number: int, writer: asyncio.StreamWriter) -> None:
            answers.append(writer)
            if number >= 39:
                for one in answers:
                    one.write(good())
                answers.clear()

        server = self.serve(stalls)
        got = run(Job(server.port, b"{}", every(10, 60), connections=64))
        self.assertEqual(got.errors, {})
        self.assertLess(middle(got.late_ns), 40 * MS)
        self.assertGreater(got.latency_ns[0], 350 * MS)
        self.assertGreater(got.latency_ns[20], 150 * MS)
        self.assertLess(middle(got.latency_ns[45:]), 100 * MS)
        self.assertGreaterEqual(got.held, 30)

    def test_waiting_for_a_connection_is_latency(self) -> None:
        """With too few connections requests wait, which is latency but not the generator's fault."""

        async def slow(number: int, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.02)
            writer.write(good())

        got = run(Job(self.serve(slow).port, b"{}", every(10, 30), connections=1))
        self.assertEqual(got.errors, {})
        self.assertGreater(got.late_ns[-1], 200 * MS)
        self.assertGreater(got.latency_ns[-1], 220 * MS)
        self.assertLess(len(got.busy_late_ns), 10)
        self.assertLess(got.achieved_rps, 60)

    def test_percentiles_of_known_delays(self) -> None:
        """Delays that a server gives are found again, in the order in which requests were due."""

        async def waits(number: int, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.15 if number % 10 == 9 else 0.01)
            writer.write(good())

        got = run(Job(self.serve(waits).port, b"{}", every(6, 100), connections=64))
        found = sorted(got.latency_ns)
        self.assertGreaterEqual(found[50], 9 * MS)
        self.assertLess(found[50], 100 * MS)
        self.assertGreaterEqual(found[92], 149 * MS)
        self.assertGreaterEqual(min(got.latency_ns[9::10]), 149 * MS)

    def test_a_generator_that_is_held_up_says_so(self) -> None:
        """What the generator itself is late shows in its own figure."""

        port, _ = self.mock(delay_us=1000)
        # Other tests' servers may still run beside the mock; they are not to be held up.
        others = set(child_processes())
        held: list[int] = []

        def hold_up(done: int, errors: int, seconds: float) -> None:
            if held:
                return
            held.extend(set(child_processes()) - others)
            for one in held:
                os.kill(one, signal.SIGSTOP)
            time.sleep(0.15)
            for one in held:
                os.kill(one, signal.SIGCONT)

        got = run(Job(port, b"{}", every(4, 150), connections=256), hold_up)
        self.assertEqual(len(held), 1)
        self.assertGreater(max(got.busy_late_ns), 100 * MS)


def child_processes() -> list[int]:
    """Give the processes that this one started and that still are."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += [int(pid) for pid in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


class Outcomes(Rig):
    """What becomes of requests; the C generator, and in a subclass the Python one."""

    def test_every_kind(self) -> None:
        """Each wrong reply is told apart from the others, for exactly the request that it belongs to."""
        changed = good().replace(b"true", b"nope")
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        wires = {
            1: b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            2: good(b'{"ok":true,"more":1}'),
            3: changed,
            4: good()[:-3],
            5: b"who is there\r\n\r\n",
            6: good() + b"and more",
            7: b"",
            9: b"HTTP/1.1 100 Continue\r\n\r\n" + good(),
            10: chunked + b'b;x=y\r\n{"ok":true}\r\n0\r\nA: b\r\n\r\n',
            11: b"HTTP/1.1 200 OK\r\n\r\n" + good().partition(b"\r\n\r\n")[2],
            12: chunked + b"zz\r\n",
            13: good().replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"),
        }

        async def answers(number: int, writer: asyncio.StreamWriter) -> None:
            writer.write(wires.get(number, good()))
            if number in (4, 11, 13):
                writer.close()

        got = run(Job(self.serve(answers).port, b"{}", every(25, 15), connections=3, timeout_s=0.4))
        kinds = [OUTCOMES[kind] for kind in got.outcome]
        wanted = [
            "ok",
            "status",
            "length",
            "body",
            "cut",
            "protocol",
            "protocol",
            "timeout",
            "ok",
            "ok",
            "ok",
        ]
        self.assertEqual(kinds, [*wanted, "ok", "protocol", "ok", "ok"])
        self.assertEqual(got.errors["protocol"], 3)
        self.assertGreaterEqual(got.latency_ns[7], 400 * MS)
        self.assertEqual((got.generator, got.reply_bytes), (self.program, 11))

    def test_streams(self) -> None:
        """Events that are missing are counted and their streams lost; cut and muddled streams are errors."""
        wires = {
            1: stream([0, 1, 3, 4]),
            2: stream([0, 1]),
            3: stream([0, 1, 2], end=b""),
            4: stream([0, 2, 1, 3, 4, 5]),
            5: stream(range(5))[:-40],
            6: b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        }

        async def answers(number: int, writer: asyncio.StreamWriter) -> None:
            writer.write(wires.get(number, stream(range(5))))
            if number == 5:
                writer.close()

        port = self.serve(answers).port
        got = run(Job(port, b"{}", every(25, 9), connections=4, stream=True, events=5))
        kinds = [OUTCOMES[kind] for kind in got.outcome]
        self.assertEqual(kinds, ["ok", "lost", "lost", "cut", "body", "cut", "status", "ok", "ok"])
        self.assertGreaterEqual(got.events_lost, 1 + 3 + 2 + 5)
        self.assertLessEqual(got.events_lost, 1 + 3 + 2 + 5 + 2)
        self.assertLess(middle(got.latency_ns), 100 * MS)
        self.assertGreater(len(got.gaps_ns), 4 * 3)

    def test_refused_connections(self) -> None:
        """Where nobody listens, each request fails once, when it is due, and the run ends."""
        got = run(Job(1, b"{}", every(5, 20), connections=4, skip=2))
        self.assertEqual(got.errors, {"connect": 18})
        self.assertEqual(got.achieved_rps, 0)

    def test_waiting_requests_time_out(self) -> None:
        """A request that never gets a connection is over at its time as one that gets no reply."""

        async def silent(number: int, writer: asyncio.StreamWriter) -> None:
            return None

        got = run(Job(self.serve(silent).port, b"{}", every(10, 5), connections=1, timeout_s=0.2))
        self.assertEqual(got.errors, {"timeout": 5})
        self.assertLess(max(got.latency_ns), 2000 * MS)

    def test_interrupted(self) -> None:
        """An interrupt ends the generator, leaves nothing behind, and comes out of the call."""

        def interrupt(done: int, errors: int, seconds: float) -> None:
            self.assertNotEqual(set(child_processes()), before)
            raise KeyboardInterrupt

        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(tempfile, "tempdir", str(folder.resolve()))
        port, _ = self.mock()
        before = set(child_processes())
        with self.assertRaises(KeyboardInterrupt):
            run(Job(port, b"{}", every(10, 2000)), interrupt)
        self.assertEqual((set(child_processes()), list(folder.iterdir())), (before, []))


class PythonOutcomes(Outcomes):
    """The Python generator and mock."""

    program = "python"

    def test_capacity(self) -> None:
        """The Python generator says what it can drive."""
        port, _ = self.mock(delay_us=0)
        got = run(Job(port, b"{}", every(5, 20)))
        self.assertGreater(got.capacity_rps, 100)


class Alike(Rig):
    """Both generators on the same job."""

    def test_same_figures(self) -> None:
        """On the same job both give the same counts, and medians that are near each other."""
        port, pid = self.mock(delay_us=15_000, events=6, interval_us=10_000)
        plain = Job(port, b'{"model":"m"}', every(5, 120), skip=20, watch=(pid,))
        streams = Job(port, b'{"stream":true}', every(20, 20), stream=True, events=6)
        found = {}
        for program, native in (("c", "1"), ("python", "0")):
            with mock.patch.dict(os.environ, VOIDLLM_BENCH_NATIVE=native):
                one, many = run(plain), run(streams)
            self.assertEqual((one.errors, many.errors, many.events_lost), ({}, {}, 0))
            self.assertEqual((one.generator, many.generator), (program, program))
            self.assertGreater(one.watched_cpu_s[0], 0)
            self.assertGreater(one.watched_rss_kb[0], 500)
            self.assertGreater(one.own_cpu_s, 0)
            self.assertGreaterEqual(many.held, 2)
            found[program] = (len(one.outcome), one.reply_bytes, many.events, len(many.gaps_ns))
            self.assertGreaterEqual(middle(one.latency_ns), 15 * MS)
            self.assertLess(middle(one.latency_ns), 60 * MS)
            self.assertGreaterEqual(middle(many.latency_ns), 15 * MS)
            self.assertLess(middle(many.latency_ns), 60 * MS)
            self.assertLess(middle(many.gaps_ns), 40 * MS)
        self.assertEqual(found["c"], found["python"])
        self.assertEqual(found["c"], (100, 731, 120, 100))

    def test_closed(self) -> None:
        """In a closed loop both count replies, errors and latencies from sending."""
        port, pid = self.mock(delay_us=10_000)
        for native in ("1", "0"):
            with mock.patch.dict(os.environ, VOIDLLM_BENCH_NATIVE=native):
                got = closed(port, b"{}", connections=8, seconds=0.4, warmup=0.1, watch=(pid,))
                refused = closed(1, b"{}", connections=2, seconds=0.1, warmup=0)
            self.assertEqual((got.errors, len(got.latency_ns)), ({}, got.completed))
            self.assertLessEqual(got.rps, 801)
            self.assertGreater(got.rps, 50)
            self.assertGreaterEqual(min(got.latency_ns), 10 * MS)
            self.assertEqual((refused.completed, set(refused.errors)), (0, {"connect"}))

    def test_calibration(self) -> None:
        """What generator and mock can do alone is measured, and the mock is as before then."""
        port, _ = self.mock(delay_us=3000)
        got = calibrate(port, rate=300, seconds=0.3)
        self.assertGreater(got.rps, 300)
        for figure in (got.generator_us, got.mock_us, got.rate_generator_us, got.rate_mock_us):
            self.assertGreater(figure, 0.5)
        self.assertGreater(got.mock_late_p99_us, 0)
        self.assertLessEqual(got.mock_late_p50_us, got.mock_late_p99_us)
        counters = mock_counters(port)
        self.assertEqual((counters["delay_us"], counters["timers"]), (3000, 0))

    def test_what_is_sent(self) -> None:
        """Both send the same bytes: path, whole header lines, body."""
        heads: list[bytes] = []

        async def notes(number: int, writer: asyncio.StreamWriter) -> None:
            heads.append(server.heads[-1])
            writer.write(good())

        server = self.serve(notes)
        lines = ("Authorization: Bearer key", "X-Long: " + "y" * 5000)
        job = Job(server.port, b"[1]", every(5, 2), path="/mcp?x=y", headers=lines)
        for native in ("1", "0"):
            with mock.patch.dict(os.environ, VOIDLLM_BENCH_NATIVE=native):
                self.assertEqual(run(job).errors, {})
        self.assertEqual((len(heads), len(set(heads))), (4, 1))
        first, *others = heads[0].decode().split("\r\n")
        self.assertEqual(first, "POST /mcp?x=y HTTP/1.1")
        self.assertLessEqual({*lines, "Content-Length: 3"}, set(others))

    def test_nothing_to_measure(self) -> None:
        """A schedule that is all warm-up, and a generator that fails, are errors with a reason."""
        with self.assertRaisesRegex(GeneratorFailed, "nothing to measure"):
            run(Job(1, b"{}", every(1, 5), skip=5))
        with self.assertRaisesRegex(GeneratorFailed, "sched_setaffinity"):
            run(Job(1, b"{}", every(1, 5), core=1000))
