"""What the tests of the store share: both stores as mixins, and values to put in them."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import time
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.servers import postgres
from voidllm.core.ids import uuid7
from voidllm.core.usage import TokenCounts, UsageEvent
from voidllm.core.world import World
from voidllm.store import open_store
from voidllm.store.records import Bootstrap, NewKey, NewSecret, Org, Team, User

#: 2026-11-24 10:30 UTC.
NOW = 1_795_516_200_000
HOUR = 3_600_000
DAY = 86_400_000

_numbers = itertools.count(1)


def new_id(at_ms: int = NOW) -> str:
    return uuid7(at_ms, os.urandom)


def digest() -> str:
    return os.urandom(32).hex()


def org(**changes: Any) -> Org:
    values = {"id": new_id(), "name": "Org", "slug": f"org-{next(_numbers)}", "created_at_ms": NOW}
    return Org(**{**values, **changes})


def team(owner: Org, **changes: Any) -> Team:
    values = {"id": new_id(), "org_id": owner.id, "name": "Team", "slug": f"team-{next(_numbers)}"}
    return Team(**{**values, "created_at_ms": NOW, **changes})


def user(**changes: Any) -> User:
    values = {"id": new_id(), "email": f"u{next(_numbers)}@example.org", "name": "User"}
    return User(**{**values, "created_at_ms": NOW, **changes})


def key(owner: Org, person: User | None = None, **changes: Any) -> NewKey:
    values: dict[str, Any] = {
        "id": new_id(),
        "hash": digest(),
        "hint": "vl_uk_...beef",
        "key_type": "user_key",
        "name": "Key",
        "org_id": owner.id,
        "user_id": None if person is None else person.id,
    }
    return NewKey(**{**values, **changes})


def secret(**changes: Any) -> NewSecret:
    return NewSecret(**{"id": new_id(), "hash": digest(), "hint": "vl_uk_...cafe", **changes})


def seed(**changes: Any) -> Bootstrap:
    first, admin = org(), user(is_system_admin=True, password_hash="hash")
    return Bootstrap(**{"org": first, "admin": admin, "key": key(first, admin), **changes})


def event(**changes: Any) -> UsageEvent:
    values: dict[str, Any] = {
        "id": new_id(),
        "request_id": new_id(),
        "started_ms": NOW,
        "kind": "llm",
        "endpoint": "chat/completions",
        "org_id": "org",
        "key_id": "key",
        "key_type": "user_key",
        "status": 200,
        "duration_ms": 40,
        "model": "demo",
        "deployment": "demo/0",
        "provider": "demo",
        "tokens": TokenCounts(input=10, output=5),
        "source": "provider_final",
    }
    return UsageEvent(**{**values, **changes})


def world(**changes: Any) -> World:
    values = {"reactor": reactor, "in_thread": deferToThread, "wall_ms": lambda: NOW, "rng": Random(3)}
    return World(**{**values, **changes})


def sleep(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)  # type: ignore[attr-defined]
    return done


async def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait in small steps until ``condition()``, which real servers decide the time of."""
    end = reactor.seconds() + seconds  # type: ignore[attr-defined]
    while not condition():
        assert reactor.seconds() < end, "it never happened"  # type: ignore[attr-defined]
        await sleep(0.01)


_CONTROL = """
import sys, threading, time
threading.Thread(target=lambda: (sys.stdin.read(), stop.append(1)), daemon=True).start()
stop, longest, last = [], 0.0, time.monotonic()
print(flush=True)
while not stop:
    time.sleep(0.005)
    now = time.monotonic()
    longest, last = max(longest, now - last - 0.005), now
print(longest)
"""


class StallProbe:
    """The longest time in which the reactor did nothing else, beside that of an idle process.

    The other process has the same machine at the same time, so what it suffers is no fault of ours.
    """

    def __init__(self) -> None:
        self._call = LoopingCall(self._tick)
        self._last: float | None = None
        self.longest_s = 0.0

    def start(self) -> StallProbe:
        # The tests' own heap is large, and collecting it is not what is measured.
        gc.collect()
        gc.freeze()
        self._control = subprocess.Popen(
            [sys.executable, "-c", _CONTROL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._control.stdout is not None
        self._control.stdout.readline()
        self._call.start(0.005, now=True).addErrback(lambda failure: failure.trap())
        return self

    def stop(self) -> float:
        """Give the excess over the idle process, in seconds."""
        self._call.stop()
        gc.unfreeze()
        out, _ = self._control.communicate("", timeout=20)
        return self.longest_s - float(out)

    def _tick(self) -> None:
        now = time.monotonic()
        if self._last is not None:
            self.longest_s = max(self.longest_s, now - self._last - 0.005)
        self._last = now


class StoreCase(TestCase):
    """A started store in ``self.store``; async tests."""

    timeout = 60

    def make_store(self, **options: Any) -> Any:
        raise NotImplementedError

    def setUp(self) -> Deferred[None]:
        return ensureDeferred(self._set_up())

    async def _set_up(self) -> None:
        self.store = self.make_store()
        await self.store.start()
        self.addCleanup(self.store.stop)


class OnSQLite(StoreCase):
    def make_store(self, **options: Any) -> Any:
        if not hasattr(self, "path"):
            self.path = self.mktemp()
        return open_store(world(), "sqlite", self.path, **options)


class OnPostgres(StoreCase):
    def make_store(self, **options: Any) -> Any:
        if not hasattr(self, "dsn"):
            self.dsn = postgres().create_database()
        return open_store(world(), "postgres", self.dsn, **{"connections": 2, **options})
