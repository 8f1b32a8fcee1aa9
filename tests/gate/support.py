"""A gate whose surroundings are lists."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from zope.interface import implementer

from voidllm.core.crypto import KeyDigester
from voidllm.core.errors import JournalFull
from voidllm.core.interfaces import IJournal
from voidllm.core.model import Deployment, Model, Price
from voidllm.core.principal import Principal
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.usage import UsageEvent
from voidllm.core.work import Ask
from voidllm.core.world import World
from voidllm.gate.gate import Gate
from voidllm.limits.ledger import MemoryLimiter

START_MS = 1_790_000_000_000
KEY = "vl_uk_" + "ab" * 24
REQUEST_ID = "0192f0c1-0000-7000-9000-000000000001"
PRICE = Price("config-1", input=2_000_000, output=4_000_000)


@implementer(IJournal)
class ListJournal:
    """A journal in memory; ``full`` makes it refuse as the real one does."""

    def __init__(self) -> None:
        self.rows: list[UsageEvent] = []
        self.open = True
        self.full = False

    def accepting(self) -> bool:
        """Whether the test lets it accept."""
        return self.open

    def append(self, event: UsageEvent) -> None:
        """Keep the row, as the real one does even when it raises."""
        self.rows.append(event)
        if self.full:
            raise JournalFull("full")


class ListMetrics:
    """Notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def refused(self, code: str, status: int) -> None:
        """Note it."""
        self.calls.append(("refused", code, status))

    def settled(self, event: UsageEvent) -> None:
        """Note it."""
        self.calls.append(("settled", event.status))

    def limited(self, scope: str) -> None:
        """Note it."""
        self.calls.append(("limited", scope))


def principal(**changes: Any) -> Principal:
    """Give a principal with a team, whom nothing limits."""
    values: dict[str, Any] = {
        "key_id": "key-1",
        "key_type": "user_key",
        "key_name": "first",
        "org_id": "org-1",
        "team_id": "team-1",
        "user_id": "user-1",
    }
    return Principal(**{**values, **changes})


class Surroundings:
    """A gate on a clock, a snapshot of two models, and lists for journal and metrics."""

    def __init__(self, who: Principal | None = None) -> None:
        self.clock = Clock()
        self.wall_offset_ms = START_MS
        self.world = World(
            reactor=self.clock,
            in_thread=maybeDeferred,
            wall_ms=lambda: self.wall_offset_ms + int(self.clock.seconds() * 1000),
            random_bytes=random.Random(7).randbytes,
        )
        self.digester = KeyDigester(b"k" * 32)
        self.who = who or principal()
        self.snapshots = SnapshotHolder()
        self.publish(self.who)
        self.journal = ListJournal()
        self.metrics = ListMetrics()
        self.limiter = MemoryLimiter()
        self.gate = Gate(self.world, self.snapshots, self.limiter, self.journal, self.digester, self.metrics)

    def publish(self, who: Principal) -> None:
        """Publish a snapshot in which the key speaks for ``who``."""
        self.who = who
        digest = self.digester.digest(KEY.encode())
        deployment = Deployment("gpt", "gpt", "openai", "http://127.0.0.1/v1", "upstream-gpt")
        models = {
            "gpt": Model("gpt", "chat", (deployment,), price=PRICE),
            "free": Model("free", "chat", (deployment,)),
        }
        aliases = Aliases(team={("team-1", "smart"): "gpt"}, everywhere={"cheap": "free"})
        self.snapshots.swap(Snapshot(1, {digest: who}, models, aliases))

    def ask(self, target: str = "gpt", tokens: int = 1000, **changes: Any) -> Ask:
        """Describe a chat completion."""
        values: dict[str, Any] = {
            "kind": "llm",
            "endpoint": "chat/completions",
            "target": target,
            "estimated_tokens": tokens,
            "request_id": REQUEST_ID,
            "started_ms": self.world.wall_ms(),
            "started_s": self.clock.seconds(),
        }
        return Ask(**{**values, **changes})
