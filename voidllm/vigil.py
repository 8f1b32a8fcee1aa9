"""When a worker is taken for hung, and when its successor starts: decided from the clock alone."""

from __future__ import annotations

from typing import Callable

from attrs import define

#: Silence after which a worker is taken for hung.
SILENT_S = 5.0
#: The same for one that has not said anything yet: a busy machine takes long to start a program.
STARTING_S = 30.0
#: How often somebody looks.
CHECK_S = 1.0
#: A worker that ends sooner than this after its start is replaced more and more slowly.
LASTING_S = 5.0
_BACKOFF_S = (0.0, 0.2, 1.0, 5.0)


@define
class Hearing:
    """When one worker was heard.

    :ivar since_s: its start, or when it said something for the last time.
    :ivar spoke: whether it ever did.
    """

    since_s: float
    spoke: bool = False

    def heard(self, now_s: float) -> None:
        """Take note that it said something."""
        self.since_s, self.spoke = now_s, True

    def silent_s(self, now_s: float) -> float:
        """Say for how long it has been silent, 0 while that is no reason to worry."""
        silence_s = now_s - self.since_s
        return silence_s if silence_s > (SILENT_S if self.spoke else STARTING_S) else 0.0


class Vigil:
    """Looks for silence every second, and does not take its own sleep for that of others.

    What was said while this process slept (stopped, swapped out, its machine suspended) has not been
    read yet when it wakes, and those who slept with it need a moment, too. So time counts as silence
    only while somebody listened.

    :param seconds: the reactor's clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._looked_s = seconds()

    def look(self, hearings: list[Hearing]) -> None:
        """Be called every second with everybody who could be heard since the last time."""
        now_s = self._seconds()
        slept_s = now_s - self._looked_s - CHECK_S
        self._looked_s = now_s
        if slept_s > CHECK_S:
            for hearing in hearings:
                hearing.since_s = min(now_s, hearing.since_s + slept_s)


class Restarts:
    """How soon each place gets a successor.

    :ivar hopeless_after: ends in a row, each soon after its start, after which one may despair.
    """

    hopeless_after = 3

    def __init__(self) -> None:
        self._quick: dict[int, int] = {}

    def ended(self, place: int, lasted_s: float | None) -> float:
        """Say how many seconds to wait before the next start there.

        :param lasted_s: how long the last one was there; ``None`` if it could not even be started.
        """
        short = lasted_s is None or lasted_s < LASTING_S
        quick = self._quick[place] = self._quick.get(place, 0) + 1 if short else 0
        return _BACKOFF_S[min(quick, len(_BACKOFF_S) - 1)]

    def in_a_row(self, place: int) -> int:
        """Count the ends at a place that came soon after a start, one after the other."""
        return self._quick.get(place, 0)
