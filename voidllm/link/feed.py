"""Keeps one worker's snapshot up to date: the whole in pieces, then changes, at the pace it reads at."""

from __future__ import annotations

from typing import Any, Iterator

from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshot_delta import difference
from voidllm.core.snapshot_keys import batches
from voidllm.link import messages
from voidllm.link.framing import frame

#: About 100 KB, and about a millisecond on either side.
_KEYS_AT_ONCE = 250
_SLICE_S = 0.003


def whole_frames(snapshot: Snapshot) -> Iterator[bytes]:
    """Give the messages of a whole snapshot, each made when it is asked for."""
    aliases = snapshot.aliases
    yield frame(messages.encode(messages.Whole(snapshot.version, dict(snapshot.models), aliases)))
    for piece in batches(snapshot.keys, _KEYS_AT_ONCE):
        yield frame(messages.encode(messages.Keys(piece)))
    yield frame(messages.encode(messages.Complete()))


def change_frame(old: Snapshot, new: Snapshot) -> bytes:
    """Give the message of what turns ``old`` into ``new``."""
    return frame(messages.encode(messages.Change(difference(old, new))))


class Feed:
    """What one worker is sent of snapshots.

    It is never sent more while it does not read what is on its way. Then, and while it gets the
    whole, changes are not queued: the difference to the newest snapshot follows, so nothing is missed
    and memory is bounded.

    :param reactor: an ``IReactorTime``.
    """

    def __init__(self, reactor: Any) -> None:
        self._link: Any = None
        self._reactor = reactor
        self._pieces: Iterator[bytes] | None = None
        self._timer: Any = None
        # What it has once it has read all that it was sent, and what it should have.
        self._sent: Snapshot | None = None
        self._newest: Snapshot | None = None

    def attach(self, link: Any) -> None:
        """Send on this ``ILink``; it calls :meth:`flow` when the worker has read everything."""
        self._link = link

    def whole(self, snapshot: Snapshot) -> None:
        """Send all of ``snapshot``, whatever was sent before."""
        self._sent = self._newest = snapshot
        self._pieces = whole_frames(snapshot)
        self.flow()

    def changed(self, old: Snapshot, new: Snapshot, change: bytes) -> None:
        """Send what turned ``old`` into ``new``; nothing happens before the first whole.

        :param change: the message of it, see :func:`change_frame`.
        """
        if self._sent is None:
            return
        self._newest = new
        if self._pieces is None and not self._link.clogged and self._sent is old:
            self._sent = new
            self._link.send_encoded(change)

    def flow(self) -> None:
        """Go on, as far as the worker reads and other work here allows."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        until_s = self._reactor.seconds() + _SLICE_S
        while self._pieces is not None and self._link.open and not self._link.clogged:
            if self._reactor.seconds() > until_s:
                self._timer = self._reactor.callLater(0, self.flow)
                return
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
            else:
                self._link.send_encoded(piece)
        if self._pieces is None and not self._link.clogged and self._sent is not self._newest:
            assert self._sent is not None and self._newest is not None
            change = change_frame(self._sent, self._newest)
            self._sent = self._newest
            self._link.send_encoded(change)

    def close(self) -> None:
        """Send nothing more."""
        self._pieces = None
        self._sent = self._newest = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
