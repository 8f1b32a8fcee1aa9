"""How a worker is kept up to date at the pace it reads at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.principal import Principal
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshot_delta import apply
from voidllm.link.feed import Feed, change_frame
from voidllm.link.framing import Frames
from voidllm.link.messages import Change, Complete, Keys, Whole, decode_to_worker

MANY = 2_000


class Line:
    """A link that is clogged after every message, until the test reads."""

    def __init__(self, clogs: bool) -> None:
        self.open = True
        self.clogged = False
        self.sent: list[bytes] = []
        self._clogs = clogs

    def send_encoded(self, data: bytes) -> None:
        """Keep it."""
        self.sent.append(data)
        self.clogged = self._clogs


class Reader:
    """The other end: what a worker makes of what it is sent."""

    def __init__(self) -> None:
        self.has: Snapshot | None = None
        self._coming: Any = None
        self._keys: dict[bytes, Principal] = {}
        self._frames = Frames(1 << 20)

    def read(self, line: Line) -> None:
        """Read all that is there."""
        sent, line.sent, line.clogged = line.sent, [], False
        for message in map(decode_to_worker, self._frames.feed(b"".join(sent))):
            if isinstance(message, Whole):
                self._coming, self._keys = message, {}
            elif isinstance(message, Keys):
                self._keys |= message.keys
            elif isinstance(message, Complete):
                coming = self._coming
                self.has = Snapshot(coming.version, self._keys, coming.models, coming.aliases)
            elif isinstance(message, Change):
                assert self.has is not None
                self.has = apply(self.has, message.delta)


def principal(number: int) -> Principal:
    """Make one."""
    return Principal(f"k{number}", "user_key", "n", "o")


def snapshot(version: int, *gone: int) -> Snapshot:
    """Make one with many keys, some of them gone."""
    keys = {number.to_bytes(4, "little"): principal(number) for number in range(MANY) if number not in gone}
    return Snapshot(version, keys)


class TestFeed(SynchronousTestCase):
    """The whole in pieces, then changes."""

    def setUp(self) -> None:
        """Begin a line to a worker that reads when the test says so."""
        self.clock = Clock()
        self.reader = Reader()

    def feed(self, clogs: bool = True) -> tuple[Feed, Line]:
        """Make one with its line."""
        feed, line = Feed(self.clock), Line(clogs)
        feed.attach(line)
        return feed, line

    def test_pieces(self) -> None:
        """No more is sent than the worker reads, and each piece is small."""
        feed, line = self.feed()
        whole = snapshot(1)
        feed.whole(whole)
        turns = 0
        while line.sent:
            self.assertEqual(len(line.sent), 1)
            self.assertLess(len(line.sent[0]), 200_000)
            self.reader.read(line)
            feed.flow()
            turns += 1
        self.assertGreater(turns, 5)
        self.assertEqual(self.reader.has, whole)

    def test_changes_meanwhile(self) -> None:
        """What changes while the whole is on its way follows it, as one difference."""
        feed, line = self.feed()
        versions = [snapshot(1), snapshot(2, 5), snapshot(3, 6)]
        feed.whole(versions[0])
        for old, new in pairwise(versions):
            self.reader.read(line)
            feed.flow()
            feed.changed(old, new, change_frame(old, new))
        while line.sent:
            self.reader.read(line)
            feed.flow()
        self.assertEqual(self.reader.has, versions[-1])
        later = snapshot(4)
        feed.changed(versions[-1], later, change_frame(versions[-1], later))
        self.reader.read(line)
        self.assertEqual(self.reader.has, later)

    def test_other_work(self) -> None:
        """A worker that reads at once does not keep the control plane from other work."""
        feed, line = self.feed(clogs=False)
        clock = self.clock
        send = line.send_encoded

        def slow(data: bytes) -> None:
            send(data)
            clock.rightNow += 0.002

        line.send_encoded = slow  # type: ignore[method-assign]
        feed.whole(snapshot(1))
        self.assertLess(len(line.sent), 4)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(0)
        self.reader.read(line)
        self.assertEqual(self.reader.has, snapshot(1))

    def test_close(self) -> None:
        """A closed feed sends nothing, and leaves no timer."""
        feed, line = self.feed()
        feed.changed(snapshot(1), snapshot(2), b"")
        self.assertEqual(line.sent, [])
        feed.whole(snapshot(1))
        feed.close()
        self.reader.read(line)
        feed.flow()
        feed.changed(snapshot(1), snapshot(2), b"")
        self.assertEqual(line.sent, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
