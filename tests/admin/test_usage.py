"""``/api/v1/usage`` over a real socket, on a real store."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import NOW, AdminCase, event
from voidllm.admin import reporting
from voidllm.admin.views import dollars
from voidllm.core.errors import StoreBusy, StoreTimeout, StoreUnavailable

_HOUR = 3_600_000


class Reports(AdminCase):
    async def _use(self) -> None:
        rows = [
            event(org_id=self.org.id, cost_nano=1_000_000_001),
            event(org_id=self.org.id, started_ms=NOW - 49 * _HOUR, cost_nano=2),
            event(org_id=self.other.id, status=429, model="", deployment=""),
        ]
        await self.store.commit_usage("segment", 1, rows)

    async def test_a_report_has_its_groups_and_numbers(self) -> None:
        """Only what was grouped by is there beside the numbers, after everything was flushed."""
        await self._use()
        status, _, report = await self.call("GET", "/api/v1/usage")
        self.assertEqual((status, self.flushed), (200, 1))
        self.assertFalse(report["has_more"])
        first = report["data"][0]
        self.assertEqual(list(first)[:3], ["model", "status", "total_requests"])
        self.assertEqual((first["status"], first["total_requests"]), ("200", 2))
        self.assertEqual((first["prompt_tokens"], first["completion_tokens"]), (20, 10))
        self.assertEqual((first["cost_nano"], first["cost"]), (1_000_000_003, "1.000000003"))
        _, _, report = await self.call("GET", "/api/v1/usage?group_by=day,hour&since=1h")
        self.assertEqual(
            [(row["day"], row["hour"], row["total_requests"]) for row in report["data"]],
            [("2026-11-24", "2026-11-24T10:00:00Z", 2)],
        )

    async def test_spans_are_durations_dates_or_moments(self) -> None:
        """``since`` and ``until`` bound a report."""
        await self._use()
        for query, expected in (
            ("since=24h", 2),
            ("since=3d", 3),
            ("since=2026-11-24", 2),
            ("until=2026-11-24T00:00:00%2B00:00", 1),
            ("since=2026-11-22T00:00:00Z&until=24h", 1),
        ):
            _, _, report = await self.call("GET", f"/api/v1/usage?group_by=,&{query}")
            self.assertEqual(report["data"][0]["total_requests"], expected, query)

    async def test_an_org_admin_sees_their_own_organisation_only(self) -> None:
        """The rows of others are not even in the sums."""
        await self._use()
        _, _, report = await self.call("GET", "/api/v1/usage?group_by=org", who="other_boss")
        self.assertEqual([(r["org"], r["total_requests"]) for r in report["data"]], [(self.other.id, 1)])

    async def test_wrong_arguments_are_named(self) -> None:
        """Each is a 400 with its name."""
        for query, param in (
            ("group_by=weather", "group_by"),
            ("group_by=model,model", "group_by"),
            ("since=soon", "since"),
            ("since=1h&until=2h", "until"),
            ("until=99999-01-01", "until"),
            ("weather=fine", "weather"),
            ("limit=2000&percentiles=true", "limit"),
            ("status=ok", "status"),
        ):
            status, _, reply = await self.call("GET", f"/api/v1/usage?{query}")
            self.assertEqual((status, reply["error"]["param"]), (400, param), query)


class WithoutADatabase(AdminCase):
    async def test_a_store_that_is_away_is_a_503(self) -> None:
        """What may be tried again says when."""
        real = self.store
        for error in (StoreUnavailable(), StoreBusy(), StoreTimeout()):
            self.store.usage_report = lambda *_, error=error: fail(error)
            status, headers, _ = await self.call("GET", "/api/v1/usage")
            self.assertEqual((status, headers["retry-after"]), (503, "1"))
        del real.usage_report

    async def test_rows_that_do_not_arrive_in_time_are_a_503(self) -> None:
        """A report is never silently incomplete, and nobody waits for ever."""
        self.patch(reporting, "_PATIENCE_S", 0.01)
        waiting: list[Deferred[None]] = []

        def flush() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        self.context = evolve(self.context, flush=flush)
        status, headers, _ = await self.call("GET", "/api/v1/usage")
        self.assertEqual((status, headers["retry-after"]), (503, "2"))
        # The batcher gets there in the end, and nobody minds.
        waiting[0].callback(None)

    async def test_a_crash_is_a_500_that_tells_nothing(self) -> None:
        """The error's text reaches neither the client nor the log."""
        self.store.usage_report = lambda *_: fail(ZeroDivisionError("canary"))
        status, _, reply = await self.call("GET", "/api/v1/usage")
        self.assertEqual((status, reply["error"]["code"]), (500, "internal_error"))
        self.assertNotIn("canary", str(reply))
        del self.store.usage_report


class Money(SynchronousTestCase):
    @given(st.integers(-(10**18), 10**18))
    def test_dollars_are_exact(self, nano: int) -> None:
        """The decimal text is the integer again, shifted by nine digits."""
        sign, text = (-1, dollars(nano)[1:]) if nano < 0 else (1, dollars(nano))
        whole, _, rest = text.partition(".")
        self.assertEqual(sign * (int(whole) * 10**9 + int(rest.ljust(9, "0"))), nano)
        self.assertFalse(rest.endswith("0"))
