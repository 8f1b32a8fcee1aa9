"""Where the time of a request goes: in the reply (W3C Server Timing), and in what is counted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from voidllm.http.sampling import Probe


def server_timing(gateway_s: float, upstream_s: float | None = None) -> tuple[bytes, bytes]:
    """Write ``Server-Timing`` with ``gw`` and ``up``, in milliseconds.

    :param gateway_s: seconds that the gateway took.
    :param upstream_s: seconds that it waited for upstreams; ``None`` if none was asked.
    """
    if upstream_s is None:
        return b"server-timing", b"gw;dur=%.3f" % (gateway_s * 1000)
    return b"server-timing", b"gw;dur=%.3f, up;dur=%.3f" % (gateway_s * 1000, upstream_s * 1000)


class Phases:
    """Where the time of one exchange goes, by the gateway's clock.

    What is spent neither on the upstream nor waiting for the client's body is the gateway's.

    :param seconds: the clock.
    :param began_s: when the request had come.
    :ivar waited_s: seconds of waiting for the client's body.
    :ivar upstream_s: seconds that upstreams took, up to what the reply waited for; ``None`` if none
        was asked.
    """

    __slots__ = ("_asked_s", "_before_s", "_began_s", "_called_s", "_seconds", "upstream_s", "waited_s")

    def __init__(self, seconds: Callable[[], float], began_s: float) -> None:
        self._seconds = seconds
        self._began_s = began_s
        self._asked_s: float | None = None
        self._called_s: float | None = None
        self._before_s = 0.0
        self.waited_s = 0.0
        self.upstream_s: float | None = None

    def asked(self) -> None:
        """The client's body is waited for."""
        self._asked_s = self._seconds()

    def got(self) -> None:
        """As much of it as is needed is there."""
        if self._asked_s is not None:
            waited_s = self._came_s() - self._asked_s
            # Not a number stays that.
            self.waited_s = 0.0 if waited_s < 0 else waited_s
            self._asked_s = None

    def calling(self) -> None:
        """An upstream is about to be called."""
        self._called_s = self._seconds()
        self._before_s = self.upstream_s or 0.0

    def called(self) -> None:
        """The call was made; its request was written, or waits for a connection."""

    def heard(self) -> None:
        """What the reply waits for has just been read."""
        self._heard(self._answered_s())

    def missed(self) -> None:
        """What the reply waited for will not come, or is waited for no longer."""
        self._heard(self._seconds())

    def _heard(self, at_s: float) -> None:
        sent_s = self._sent_s()
        if sent_s is not None:
            self.upstream_s = self._before_s + at_s - sent_s

    def spent_s(self) -> float:
        """Give the seconds that the gateway has taken until now."""
        return self._seconds() - self._began_s - self.waited_s - (self.upstream_s or 0.0)

    def replies(self, stream: bool) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers of the reply that is sent now."""
        return (server_timing(self.spent_s(), self.upstream_s),)

    # -- moments that the kernel knows better

    def _came_s(self) -> float:
        return self._seconds()

    def _sent_s(self) -> float | None:
        return self._called_s

    def _answered_s(self) -> float:
        return self._seconds()


class SampledPhases(Phases):
    """The same as it is seen from outside: bytes that nobody has read yet have come, none left before it did.

    :param probe: follows the request; it has come whole, or its head has.
    :param added: is told what the gateway added, once the reply's first byte has left; not where a
        moment is not known.
    """

    __slots__ = ("_added", "_at_once", "_probe")

    def __init__(
        self, seconds: Callable[[], float], probe: Probe, added: Callable[[bool, float], None]
    ) -> None:
        begun_s = seconds()
        super().__init__(seconds, probe.came_s())
        self._probe = probe
        self._added = added
        self._at_once = False
        probe.own_s += seconds() - begun_s

    def calling(self) -> None:
        """An upstream is about to be called."""
        super().calling()
        self._probe.forget_upstream()
        assert self._called_s is not None
        self._probe.own_s += self._seconds() - self._called_s

    def called(self) -> None:
        """The call was made; to wait for a connection is to wait for the upstream."""
        self._at_once = self._probe.wanted_s is not None

    def heard(self) -> None:
        """What the reply waits for has just been read."""
        begun_s = self._seconds()
        super().heard()
        self._probe.own_s += self._seconds() - begun_s

    def replies(self, stream: bool) -> tuple[tuple[bytes, bytes], ...]:
        """Have the time told when the reply that is sent now has left."""
        self._probe.replied = partial(self._left, stream)
        return ()

    def _left(self, stream: bool) -> None:
        spent_s = self.spent_s() - self._probe.own_s
        if spent_s >= 0:
            self._added(stream, spent_s)

    def _came_s(self) -> float:
        return self._probe.came_s()

    def _sent_s(self) -> float | None:
        probe = self._probe
        if probe.sent_s is None or self._called_s is None or self._at_once:
            return probe.sent_s or self._called_s
        assert probe.wanted_s is not None
        return self._called_s + probe.sent_s - probe.wanted_s

    def _answered_s(self) -> float:
        return self._probe.answered_s()


def phases_of(
    seconds: Callable[[], float],
    timed: bool,
    began_s: float,
    probe: Probe | None,
    added: Callable[[bool, float], None],
) -> tuple[Phases, ...]:
    """Give what wants to know where the time of a request goes.

    :param timed: its reply is to say so.
    """
    found: list[Phases] = []
    if timed:
        found.append(Phases(seconds, began_s))
    if probe is not None:
        found.append(SampledPhases(seconds, probe, added))
    return tuple(found)
