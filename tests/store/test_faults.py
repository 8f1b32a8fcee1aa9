"""The PostgreSQL store while its server is killed, frozen or not there at all."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.servers import postgres
from tests.store.support import NOW, OnPostgres, StallProbe, event, key, seed, sleep, until
from voidllm.core.errors import StoreBusy, StoreError, StoreTimeout, StoreUnavailable
from voidllm.store.records import UsageQuery

#: Beyond what an idle process suffers on the same machine at the same time. What must not be is waiting
#: for a server, which takes seconds; starting one takes a process as large as the whole suite's 0.1 s.
MOST_STALL_S = 0.3


class Load:
    """Commits one batch after another, repeating each until it is known to be in, as a batcher does."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.committed = 0
        self.failures: list[StoreError] = []
        self._running = True
        self._done: Deferred[None] = Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        offset = 0
        while self._running:
            batch = [event() for _ in range(20)]
            offset += 1
            while True:
                try:
                    await self._store.commit_usage("segment", offset, batch)
                    break
                except StoreError as error:
                    self.failures.append(error)
                    await sleep(0.05)
            self.committed += len(batch)

    def stop(self) -> Deferred[None]:
        self._running = False
        return self._done


class FaultTests(OnPostgres):
    """Each fault in the middle of a load."""

    def make_store(self, **options: Any) -> Any:
        short = {"statement_timeout_s": 0.3, "checkout_timeout_s": 0.5, "connect_timeout_s": 0.5}
        return super().make_store(**{"connections": 3, "stop_timeout_s": 1.0, **short, **options})

    async def counted(self) -> int:
        (total,) = await self.store.usage_report(UsageQuery(0, NOW + 1))
        ((rows,),) = postgres().execute("SELECT count(*) FROM usage_events", self.dsn)
        self.assertEqual(rows, total.total_requests)
        return int(rows)

    async def test_killed_and_restarted(self) -> None:
        """A crash of the server loses nothing, counts nothing twice, and stalls nothing."""
        told: list[int] = []
        self.store.subscribe(lambda: told.append(1))
        load = Load(self.store)
        await until(lambda: load.committed > 100)
        probe = StallProbe().start()
        await deferToThread(postgres().stop)
        await until(lambda: len(load.failures) > 1)
        before = load.committed
        await deferToThread(postgres().start)
        await until(lambda: load.committed > before + 100)
        await until(lambda: told)
        await until(lambda: self.store.stats().idle >= 2)
        stall = probe.stop()
        await load.stop()
        self.assertEqual(await self.counted(), load.committed)
        for error in load.failures:
            self.assertIsInstance(error, (StoreUnavailable, StoreBusy))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertLess(stall, MOST_STALL_S)
        self.assertTrue(await self.store.bootstrap(seed(), NOW))

    async def test_frozen(self) -> None:
        """A server that stops answering times out operations and stalls nothing; then all goes on."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        load = Load(self.store)
        await until(lambda: load.committed > 100)
        probe = StallProbe().start()
        self.addCleanup(postgres().thaw)
        postgres().freeze()
        began = reactor.seconds()  # type: ignore[attr-defined]
        change = self.store.create_key(key(first.org, first.admin), NOW)
        await self.assertFailure(change, StoreTimeout)
        waited = reactor.seconds() - began  # type: ignore[attr-defined]
        await until(lambda: len(load.failures) > 1)
        before = load.committed
        postgres().thaw()
        await until(lambda: load.committed > before + 100)
        stall = probe.stop()
        await load.stop()
        self.assertLess(waited, 2.5)
        self.assertEqual(await self.counted(), load.committed)
        self.assertIn(StoreTimeout, {type(error) for error in load.failures})
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertLess(stall, MOST_STALL_S)

    async def test_stopping_and_starting_against_a_frozen_server(self) -> None:
        """Neither a stop nor a start waits longer than its deadline for a server that is frozen."""
        running = self.store.meta_set("a", "b")
        postgres().freeze()
        self.addCleanup(postgres().thaw)
        running.addErrback(lambda failure: failure.trap(StoreError))
        probe = StallProbe().start()
        await self.store.stop()
        store = self.make_store(start_timeout_s=0.8)
        began = reactor.seconds()  # type: ignore[attr-defined]
        await self.assertFailure(store.start(), StoreUnavailable)
        self.assertLess(reactor.seconds() - began, 2.5)  # type: ignore[attr-defined]
        self.assertLess(probe.stop(), MOST_STALL_S)
        await running
        postgres().thaw()
        await store.start()
        await store.ping()
        await store.stop()

    async def test_server_down_at_start(self) -> None:
        """Without a server the start fails in time, and works once the server is there."""
        await self.store.stop()
        await deferToThread(postgres().stop)
        try:
            store = self.make_store(start_timeout_s=0.3)
            error = await self.assertFailure(store.start(), StoreUnavailable)
            self.assertIn("refused", str(error))
            await self.assertFailure(store.ping(), StoreUnavailable)
        finally:
            await deferToThread(postgres().start)
        await store.start()
        self.assertTrue(await store.is_empty())
        await store.stop()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_changes_during_an_outage_of_one_box(self) -> None:
        """What another box changed while this one was cut off is loaded when it is back."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        told: list[int] = []
        self.store.subscribe(lambda: told.append(1))
        name = self.dsn.rpartition("=")[2]
        postgres().execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgres().execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await self.assertFailure(self.store.ping(), StoreUnavailable)
        self.assertEqual(told, [])
        postgres().execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        postgres().execute("UPDATE change_version SET version = version + 5", self.dsn)
        await until(lambda: told)
        self.assertEqual((await self.store.load(NOW)).version, await self.store.change_version())
