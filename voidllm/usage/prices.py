"""Prices of well-known models, from packaged data; nothing here asks the network.

Prices in configuration go before these: :func:`price_from_config`.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

import voidllm
from voidllm.core.model import Price
from voidllm.core.world import World
from voidllm.usage.price_match import PriceData
from voidllm.usage.price_numbers import Number, price_from_config

__all__ = ["Number", "PriceBook", "extract_prices", "price_from_config"]

_log = Logger()
_DEADLINE = 120.0
_PIECE = 256 * 1024
_REMEMBERED = 10_000


def extract_prices(path: str) -> None:
    """Write the installed price data to ``path`` with a process of its own; blocking.

    :raises OSError: or ``subprocess.SubprocessError``, if that did not work.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(voidllm.__file__)))
    subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "voidllm.usage.price_extract", path],
        check=True,
        timeout=_DEADLINE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": root, "PATH": os.environ.get("PATH", "")},
    )


class PriceBook:
    """Gives prices by provider and model once its data is there.

    :param extract: writes the installed data to a path; blocking.
    :ivar on_ready: called with no argument when prices have become known, so that a snapshot
        can be built with them.
    """

    def __init__(
        self, world: World, state_dir: str, *, extract: Callable[[str], None] = extract_prices
    ) -> None:
        self.on_ready: list[Callable[[], None]] = []
        self._world = world
        self._state_dir = state_dir
        self._extract = extract
        self._data: PriceData | None = None
        self._known: dict[tuple[str, str, str], Price | None] = {}

    @property
    def version(self) -> str:
        """Which price list this is, as in usage rows; ``""`` while there is none."""
        return "" if self._data is None else self._data.version

    def load(self) -> Deferred[None]:
        """Read the cached data, or have it extracted first, off the reactor.

        Never fails: without price data a gateway runs, and rows have no cost.
        """
        done: Deferred[None] = self._world.in_thread(self._load).addBoth(self._loaded)
        return done

    def price_for(self, provider: str, upstream_model: str) -> Price | None:
        """Give today's price, or ``None`` if it is not known or not by tokens.

        For snapshot building, not for requests. Of prices with tiers or times of day the plain one.
        """
        if self._data is None:
            return None
        day = datetime.fromtimestamp(self._world.wall_ms() / 1000, UTC).date().isoformat()
        key = (provider, upstream_model, day)
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = self._data.find(provider, upstream_model, day)
        return self._known[key]

    def _load(self) -> PriceData:
        name = f"prices-{importlib.metadata.version('genai-prices')}.json"
        path = os.path.join(self._state_dir, name)
        try:
            return PriceData(self._read(path))
        except FileNotFoundError:
            self._extract(path)
        except (ValueError, KeyError, TypeError) as problem:
            _log.warn(
                "price data in {name} is damaged ({problem}), made anew",
                name=name,
                problem=type(problem).__name__,
            )
            self._extract(path)
        data = PriceData(self._read(path))
        for other in self._world.fs.listdir(self._state_dir):
            if other.startswith("prices-") and other != name:
                self._world.fs.unlink(os.path.join(self._state_dir, other))
        return data

    def _read(self, path: str) -> bytes:
        fs = self._world.fs
        fd = fs.open(path, os.O_RDONLY)
        try:
            pieces: list[bytes] = []
            offset = 0
            while piece := fs.pread(fd, _PIECE, offset):
                pieces.append(piece)
                offset += len(piece)
            return b"".join(pieces)
        finally:
            fs.close(fd)

    def _loaded(self, outcome: PriceData | Failure) -> None:
        if isinstance(outcome, Failure):
            _log.failure("no price data: models without a configured price have no cost", outcome)
            return
        self._data = outcome
        self._known.clear()
        for callback in self.on_ready:
            try:
                callback()
            except Exception:
                _log.failure("a listener to new prices failed")
