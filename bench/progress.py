"""What a person sees while a run goes on: on stderr, a bar on a terminal, else a line a phase."""

from __future__ import annotations

import sys
import threading
import time
from typing import IO

from attrs import define, field

_WIDTH = 24


@define
class Progress:
    """Tells how far a run is.

    :ivar out: where to.
    :ivar terminal: a bar that is drawn again and again; else one line when a phase begins.
    """

    out: IO[str] = field(factory=lambda: sys.stderr)
    terminal: bool = field()
    _phase: str = ""
    _side: str = ""
    _done: int = 0
    _of: int = 1
    _counts: dict[str, tuple[int, int]] = field(factory=dict)
    _failed_before: int = 0
    _begun: float = 0.0
    _drawn: float = 0.0
    _lock: threading.Lock = field(factory=threading.Lock)

    @terminal.default
    def _is_terminal(self) -> bool:
        return self.out.isatty()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            self._clear()
            print(text, file=self.out, flush=True)

    def phase(self, title: str) -> None:
        """A phase begins."""
        self._failed_before = 0
        self._counts.clear()
        if not self.terminal:
            self.say(title)

    def block(self, phase: str, side: str, done: int, of: int) -> None:
        """A block begins, after ``done`` of ``of``."""
        with self._lock:
            self._failed_before += sum(failed for _, failed in self._counts.values())
            self._counts.clear()
            self._phase, self._side, self._done, self._of = phase, side, done, of
            self._begun = time.monotonic()
            self._draw()

    def count(self, key: str, done: int, failed: int) -> None:
        """So many requests of this block are answered, so many of them wrongly."""
        with self._lock:
            self._counts[key] = (done, failed)
            if time.monotonic() - self._drawn > 0.2:
                self._draw()

    def end(self) -> None:
        """Nothing follows."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        if self.terminal and self._drawn:
            self.out.write("\r\x1b[K")
            self._drawn = 0.0

    def _draw(self) -> None:
        if not self.terminal:
            return
        self._drawn = time.monotonic()
        filled = _WIDTH * self._done // max(1, self._of)
        bar = "#" * filled + "." * (_WIDTH - filled)
        answered = sum(done for done, _ in self._counts.values())
        failed = self._failed_before + sum(failed for _, failed in self._counts.values())
        seconds = max(0.2, self._drawn - self._begun)
        text = (
            f"{self._phase} [{bar}] {self._done}/{self._of} {self._side}: {answered / seconds:,.0f} req/s, "
        )
        self.out.write(f"\r\x1b[K{text}{failed} error{'' if failed == 1 else 's'}")
        self.out.flush()
