"""What only the PostgreSQL store has: connections that wait, break and come back."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.servers import postgres
from tests.store.support import NOW, OnPostgres, org, seed, until, world
from voidllm.core.errors import (
    StateError,
    StoreBusy,
    StoreConflict,
    StoreRejected,
    StoreTimeout,
    StoreUnavailable,
)
from voidllm.store.pg_address import parameters, resolved
from voidllm.store.statements import Op, Rows, q


def run(store: Any, *statements: str, repeatable: bool = False) -> Deferred[Rows]:
    """Run some statements in one transaction and give the rows of the last."""

    def operation() -> Op[Rows]:
        rows: Rows = []
        for statement in statements:
            rows = yield q(statement)
        return rows

    work: Deferred[Rows] = store._write(operation, repeatable=repeatable)
    return work


class NotifyTests(OnPostgres):
    """Two boxes on one database."""

    async def test_changes_are_heard_of(self) -> None:
        """A change of one box reaches the other's listeners within a second, and each once."""
        other = self.make_store()
        await other.start()
        self.addCleanup(other.stop)
        here: list[int] = []
        there: list[int] = []
        self.store.subscribe(lambda: here.append(1))
        other.subscribe(lambda: there.append(1))
        first = seed()
        await self.store.bootstrap(first, NOW)
        await until(lambda: there, 1.0)
        self.assertEqual([k.id for k in (await other.load(NOW)).keys], [first.key.id])
        await other.revoke_key(first.key.id, NOW)
        await until(lambda: len(here) == 2, 1.0)
        # Notifications keep their order, so that whatever was told twice was told before these.
        await other.create_org(org())
        await until(lambda: len(here) == 3, 1.0)
        await self.store.create_org(org())
        await until(lambda: len(there) == 4, 1.0)
        self.assertEqual((len(here), len(there)), (4, 4))

    async def test_a_failing_listener_harms_nobody(self) -> None:
        """An error in one listener is logged; the change and the other listeners go on."""
        told: list[int] = []
        self.store.subscribe(lambda: 1 / 0)
        self.store.subscribe(lambda: told.append(1))
        self.assertTrue(await self.store.bootstrap(seed(), NOW))
        self.assertEqual(told, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_strange_notifications_are_ignored(self) -> None:
        """What others send on the channel is no version and disturbs nothing."""
        told: list[int] = []
        self.store.subscribe(lambda: told.append(1))
        for payload in ("", "x", "-5", "1e9", "9" * 50):
            postgres().execute(f"SELECT pg_notify('voidllm_changed', '{payload}')", self.dsn)
        await self.store.bootstrap(seed(), NOW)
        self.assertEqual(told, [1])
        # The last to come, as notifications keep their order.
        postgres().execute("SELECT pg_notify('voidllm_changed', '1000000')", self.dsn)
        await until(lambda: len(told) > 1)
        self.assertEqual(told, [1, 1])

    async def test_a_new_listening_connection_means_reload(self) -> None:
        """After the listening connection was lost, listeners are told, and told of later changes."""
        told: list[int] = []
        self.store.subscribe(lambda: told.append(1))
        postgres().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            self.dsn,
        )
        await until(lambda: told)
        other = self.make_store(connections=1)
        await other.start()
        await other.bootstrap(seed(), NOW)
        await until(lambda: len(told) == 2)
        await other.stop()


class ConnectionTests(OnPostgres):
    """Waits and errors of single statements."""

    def make_store(self, **options: Any) -> Any:
        return super().make_store(**{"statement_timeout_s": 0.4, "checkout_timeout_s": 0.3, **options})

    def active(self, what: str, query: str) -> Rows:
        """Select ``what`` of every connection to this database that runs ``query`` at this moment."""
        rows: Rows = postgres().execute(
            f"SELECT {what} FROM pg_stat_activity WHERE datname = current_database()"
            f" AND query LIKE '{query}' AND state = 'active' AND pid <> pg_backend_pid()",
            self.dsn,
        )
        return rows

    async def test_statement_timeout(self) -> None:
        """A long statement is ended by the server and its connection is used again."""
        await self.assertFailure(run(self.store, "SELECT pg_sleep(20)"), StoreTimeout)
        await run(self.store, "SELECT 1")
        self.assertEqual(self.store.stats().reconnects, 0)

    async def test_wait_for_a_connection_is_bounded(self) -> None:
        """Who gets no connection in time is told that the store is busy."""
        before = self.store.stats()
        running = [run(self.store, "SELECT pg_sleep(0.39)") for _ in range(2)]
        await self.assertFailure(run(self.store, "SELECT 1"), StoreBusy)
        await gatherResults(running)
        stats = self.store.stats()
        self.assertEqual((stats.idle, stats.busy, stats.waiting), (2, 0, 0))
        self.assertEqual(stats.waits - before.waits, 1)
        self.assertGreater(stats.waited_s, 0.25)

    async def test_queue_is_bounded(self) -> None:
        """More waiting operations than the queue holds are refused at once; the others come in order."""
        await self.store.stop()
        store = self.make_store(connections=1, waiting=2)
        await store.start()
        self.addCleanup(store.stop)
        order: list[int] = []
        work = [run(store, "SELECT pg_sleep(0.05)") for _ in range(3)]
        for n, one in enumerate(work):
            one.addCallback(lambda _, n=n: order.append(n))
        await self.assertFailure(run(store, "SELECT 1"), StoreBusy)
        await gatherResults(work)
        self.assertEqual(order, [0, 1, 2])

    async def test_sqlstates(self) -> None:
        """Errors of the server arrive as ours, without the values in the server's message."""
        await run(self.store, "CREATE TABLE t (id int PRIMARY KEY, CHECK (id < 10))")
        await run(self.store, "INSERT INTO t VALUES (7)")
        wanted = {
            "INSERT INTO t VALUES (7)": StoreConflict,
            "INSERT INTO t VALUES (77)": StoreRejected,
            "SELECT 1/0": StoreRejected,
            "NONSENSE": StoreRejected,
            "SELECT 'canary'::int": StoreRejected,
        }
        for statement, kind in wanted.items():
            error = await self.assertFailure(run(self.store, statement), kind)
            self.assertIn("SQLSTATE", str(error))
            self.assertNotIn("canary", str(error))
            self.assertNotIn("7", str(error).split("SQLSTATE")[0])
        self.assertEqual(self.store.stats().reconnects, 0)

    async def test_deadlocks_are_run_again(self) -> None:
        """Of two transactions that lock each other out, both are committed in the end."""
        await run(self.store, "CREATE TABLE t (id int, n int)", "INSERT INTO t VALUES (1, 0), (2, 0)")
        await run(
            self.store, "ALTER DATABASE " + self.dsn.rpartition("=")[2] + " SET deadlock_timeout = '20ms'"
        )
        await self.store.stop()
        store = self.make_store(statement_timeout_s=5, checkout_timeout_s=5)
        await store.start()
        self.addCleanup(store.stop)
        add = "UPDATE t SET n = n + 1 WHERE id = "
        pause = "SELECT pg_sleep(0.1)"
        await gatherResults(
            [run(store, add + "1", pause, add + "2"), run(store, add + "2", pause, add + "1")]
        )
        self.assertEqual(await run(store, "SELECT n FROM t"), [(2,), (2,)])

    async def test_dead_idle_connections_go_unnoticed(self) -> None:
        """Connections that the server closed are replaced; no operation fails, nothing is unhandled."""
        before = self.store.stats()
        for _ in range(3):
            postgres().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                self.dsn,
            )
            await run(self.store, "SELECT 1")
            await until(lambda: self.store.stats().idle == 2)
        self.assertGreaterEqual(self.store.stats().reconnects, before.reconnects + 6)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_lost_transaction_is_run_again_only_if_that_is_harmless(self) -> None:
        """Losing the connection half-way fails a plain write and repeats a repeatable one."""
        for repeatable in (False, True):
            work = run(self.store, "SELECT pg_sleep(0.2)", "SELECT 5", repeatable=repeatable)
            await until(lambda: self.active("pg_terminate_backend(pid)", "%pg_sleep(0.2)"))
            if repeatable:
                self.assertEqual(await work, [(5,)])
            else:
                await self.assertFailure(work, StoreUnavailable)

    async def test_connections_wear_out(self) -> None:
        """A connection is replaced after its lifetime, while operations go on."""
        await self.store.stop()
        store = self.make_store(connections=1, lifetime_s=0.2)
        await store.start()
        self.addCleanup(store.stop)
        pids = set()
        while len(pids) < 2:
            ((pid,),) = await run(store, "SELECT pg_backend_pid()")
            pids.add(pid)

    async def test_stop_waits_for_what_runs_but_not_for_ever(self) -> None:
        """A stop lets a short transaction finish, and cuts a long one at its deadline."""
        short = run(self.store, "SELECT pg_sleep(0.1)", "SELECT 5")
        await self.store.stop()
        self.assertEqual(await short, [(5,)])
        store = self.make_store(statement_timeout_s=30, stop_timeout_s=0.1)
        await store.start()
        long = run(store, "SELECT pg_sleep(20)")
        self.assertFailure(long, StoreUnavailable)
        await until(lambda: self.active("pid", "%pg_sleep(20)"))
        await store.stop()
        await long

    async def test_nothing_remains_open(self) -> None:
        """Starting and stopping many times leaves no descriptor behind."""
        await self.store.stop()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await self.store.start()
            await self.store.ping()
            await self.store.stop()
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)

    async def test_names_are_looked_up_off_the_reactor(self) -> None:
        """A host name becomes an address before libpq sees it, and stays for the certificate check."""
        calls: list[str] = []

        def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(args[0])
            return deferToThread(function, *args, **kwargs)

        given = parameters("postgresql://u:pw@localhost:5/d", 10)
        found = await resolved(world(in_thread=in_thread), given)
        self.assertEqual(calls, ["localhost"])
        self.assertRegex(found, r"host=localhost")
        self.assertRegex(found, r"hostaddr=(127\.0\.0\.1|::1)")
        for dsn in ("host=127.0.0.1", "host=/run/pg", "dbname=x", "host=a hostaddr=10.0.0.1"):
            await resolved(world(in_thread=in_thread), parameters(dsn, 10))
        self.assertEqual(calls, ["localhost"])

    async def test_unknown_host(self) -> None:
        """A name that does not resolve is a database that cannot be reached."""
        nowhere = world(in_thread=lambda *args, **kwargs: fail(OSError("no such host")))
        with self.assertRaisesRegex(StoreUnavailable, "host name"):
            await resolved(nowhere, parameters("host=db.example", 10))


class AddressTests(SynchronousTestCase):
    """Connection strings."""

    def test_bad_strings_are_not_quoted(self) -> None:
        """A string that cannot be read is an error that does not repeat it."""
        for dsn in ("postgresql://user:hunter2@[host", "password=hunter2 nonsense", "host"):
            with self.assertRaises(StateError) as caught:
                parameters(dsn, 10)
            self.assertNotIn("hunter2", str(caught.exception))
            self.assertTrue(caught.exception.__suppress_context__)

    def test_operators_settings_win(self) -> None:
        """What the operator wrote stays, and our timeouts come before its options."""
        given = parameters("dbname=x application_name=mine options='-c geqo=off' sslmode=verify-full", 2)
        self.assertEqual((given["application_name"], given["sslmode"]), ("mine", "verify-full"))
        self.assertEqual(
            given["options"],
            "-c statement_timeout=2000 -c lock_timeout=2000"
            " -c idle_in_transaction_session_timeout=4000 -c geqo=off",
        )
