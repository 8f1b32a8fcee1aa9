"""What is counted, under which names, and how much of it there can be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.usage import TokenCounts, UsageEvent
from voidllm.telemetry.metrics import _ADDED, Metrics
from voidllm.telemetry.readings import READINGS

EVENT = UsageEvent(
    id="i",
    request_id="r",
    started_ms=1,
    kind="llm",
    endpoint="chat/completions",
    org_id="o",
    key_id="k",
    key_type="user_key",
    status=200,
    duration_ms=120,
    model="gpt",
    requested_model="alias",
)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Read one sample back."""
    return metrics.registry.get_sample_value(name, labels)


class CountingTests(SynchronousTestCase):
    """Each method moves the numbers that it should, and no others."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def test_settled(self) -> None:
        """A request that succeeded is counted with its tokens and its duration."""
        tokens = TokenCounts(input=5, cache_read=3, output=7, reasoning=2)
        self.metrics.settled(evolve(EVENT, tokens=tokens))
        self.assertEqual(
            value(
                self.metrics, "voidllm_requests_total", endpoint="chat/completions", status="200", model="gpt"
            ),
            1,
        )
        self.assertEqual(value(self.metrics, "voidllm_tokens_total", model="gpt", direction="prompt"), 8)
        self.assertEqual(value(self.metrics, "voidllm_tokens_total", model="gpt", direction="completion"), 9)
        name = "voidllm_proxy_duration_seconds"
        self.assertEqual(value(self.metrics, f"{name}_count", model="gpt", stream="false"), 1)
        self.assertAlmostEqual(value(self.metrics, f"{name}_sum", model="gpt", stream="false") or 0, 0.12)
        self.assertIsNone(value(self.metrics, "voidllm_proxy_ttft_seconds_count", model="gpt"))

    def test_stream(self) -> None:
        """A stream has its time to the first token, and is told apart."""
        self.metrics.settled(evolve(EVENT, stream=True, ttft_ms=300))
        self.assertEqual(
            value(self.metrics, "voidllm_proxy_duration_seconds_count", model="gpt", stream="true"), 1
        )
        self.assertEqual(value(self.metrics, "voidllm_proxy_ttft_seconds_bucket", model="gpt", le="0.25"), 0)
        self.assertEqual(value(self.metrics, "voidllm_proxy_ttft_seconds_bucket", model="gpt", le="0.5"), 1)

    def test_added(self) -> None:
        """What the gateway adds can be read within a tenth, from 20 us to a second."""
        edges = (0.0, *_ADDED)
        for microseconds in (21, 99, 300, 1234, 70_000, 990_000):
            metrics = Metrics()
            metrics.added(True, microseconds / 1e6)
            metrics.added(False, 9.0)
            place = next(
                i
                for i, edge in enumerate(_ADDED, 1)
                if value(metrics, "voidllm_added_seconds_bucket", stream="true", le=str(edge)) == 1
            )
            middle = (edges[place - 1] + edges[place]) / 2
            self.assertLess(abs(middle * 1e6 / microseconds - 1), 0.1, microseconds)
        self.assertEqual(value(metrics, "voidllm_added_seconds_sum", stream="false"), 9)

    def test_failure_has_no_duration(self) -> None:
        """A request that failed is counted by status, and not among the durations."""
        self.metrics.settled(evolve(EVENT, status=502))
        self.assertEqual(
            value(
                self.metrics, "voidllm_requests_total", endpoint="chat/completions", status="502", model="gpt"
            ),
            1,
        )
        self.assertIsNone(
            value(self.metrics, "voidllm_proxy_duration_seconds_count", model="gpt", stream="false")
        )

    def test_refused(self) -> None:
        """A refusal counts by reason and by status; a wrong key is an authentication failure."""
        self.metrics.refused("unauthorized", 401)
        self.metrics.limited("token")
        self.metrics.refused("token_limit_exceeded", 429)
        self.assertEqual(value(self.metrics, "voidllm_auth_failures_total"), 1)
        self.assertEqual(value(self.metrics, "voidllm_refusals_total", code="token_limit_exceeded"), 1)
        self.assertEqual(value(self.metrics, "voidllm_ratelimit_rejections_total", scope="token"), 1)
        self.assertEqual(
            value(self.metrics, "voidllm_requests_total", endpoint="other", status="429", model="other"), 1
        )

    def test_upstream_and_streams(self) -> None:
        """Replies and faults of upstreams and running streams have their own numbers."""
        self.metrics.upstream_response("m", "openai", 429)
        self.metrics.upstream_error("m", "openai")
        self.metrics.stream_started()
        self.metrics.stream_started()
        self.metrics.stream_ended()
        self.assertEqual(
            value(
                self.metrics, "voidllm_upstream_requests_total", model="m", provider="openai", status="429"
            ),
            1,
        )
        self.assertEqual(
            value(self.metrics, "voidllm_upstream_errors_total", model="m", provider="openai"), 1
        )
        self.assertEqual(value(self.metrics, "voidllm_active_streams"), 1)

    def test_no_model(self) -> None:
        """What has no model, because what was asked for does not exist, is counted as other."""
        self.metrics.settled(evolve(EVENT, model="", status=404))
        self.assertEqual(
            value(
                self.metrics,
                "voidllm_requests_total",
                endpoint="chat/completions",
                status="404",
                model="other",
            ),
            1,
        )

    def test_children_are_bounded(self) -> None:
        """Past a thousand combinations everything new is counted together, and nothing is lost."""
        for n in range(1500):
            self.metrics.upstream_error(f"m{n}", "p")
        self.metrics.upstream_error("m0", "p")
        text = self.metrics.render().decode()
        lines = [line for line in text.splitlines() if line.startswith("voidllm_upstream_errors_total{")]
        self.assertEqual(len(lines), 1001)
        self.assertEqual(
            value(self.metrics, "voidllm_upstream_errors_total", model="other", provider="other"), 500
        )
        self.assertEqual(value(self.metrics, "voidllm_upstream_errors_total", model="m0", provider="p"), 2)

    def test_two_gateways_in_one_process(self) -> None:
        """Each Metrics counts for itself."""
        other = Metrics()
        other.stream_started()
        self.assertEqual(value(self.metrics, "voidllm_active_streams"), 0)


class RenderTests(SynchronousTestCase):
    """What Prometheus gets."""

    def test_parses(self) -> None:
        """The text is what Prometheus reads, with the names that there are supposed to be."""
        metrics = Metrics()
        metrics.settled(evolve(EVENT, stream=True, ttft_ms=5))
        metrics.loop_lag(0.002)
        for name, reading in READINGS.items():
            metrics.read(name, lambda: 3, "x" if reading.label else "")
        families = {f.name: f for f in text_string_to_metric_families(metrics.render().decode())}
        for name in (
            "voidllm_upstream_requests",
            "voidllm_proxy_duration_seconds",
            "voidllm_proxy_ttft_seconds",
            "voidllm_added_seconds",
            "voidllm_tokens",
            "voidllm_active_streams",
            "voidllm_upstream_errors",
            "voidllm_ratelimit_rejections",
            "voidllm_cache_size",
            "voidllm_db_open_connections",
            "voidllm_db_wait_count_total",
            "voidllm_usage_buffer_depth",
            "voidllm_usage_journal_lag_bytes",
            "voidllm_usage_events_dropped",
            "voidllm_event_loop_lag_seconds",
            "voidllm_build_info",
            "process_open_fds",
            "process_resident_memory_bytes",
        ):
            self.assertIn(name, families)
        self.assertNotIn("_created", metrics.render().decode())

    def test_label_values_are_escaped(self) -> None:
        """A configured name with quotes and line breaks makes no line of its own."""
        metrics = Metrics()
        metrics.upstream_error('a"} 1\nevil{x="', "p")
        families = list(text_string_to_metric_families(metrics.render().decode()))
        self.assertNotIn("evil", [family.name for family in families])


class ReadingTests(SynchronousTestCase):
    """Numbers that other parts hold."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def test_read_when_asked(self) -> None:
        """A reading is asked at each rendering, by label, until it ends."""
        held = [1]
        end = self.metrics.read("voidllm_cache_size", lambda: held[0], "keys")
        self.metrics.read("voidllm_cache_size", lambda: 9, "models")
        held[0] = 2
        self.assertEqual(value(self.metrics, "voidllm_cache_size", cache="keys"), 2)
        self.assertEqual(value(self.metrics, "voidllm_cache_size", cache="models"), 9)
        end()
        self.assertIsNone(value(self.metrics, "voidllm_cache_size", cache="keys"))
        end()

    def test_replaced(self) -> None:
        """A later registration takes the place of an earlier one, whose end then does nothing."""
        end = self.metrics.read("voidllm_usage_buffer_depth", lambda: 1)
        self.metrics.read("voidllm_usage_buffer_depth", lambda: 2)
        end()
        self.assertEqual(value(self.metrics, "voidllm_usage_buffer_depth"), 2)

    def test_nothing_to_tell(self) -> None:
        """A reading without a number is left out."""
        self.metrics.read("voidllm_usage_journal_lag_seconds", lambda: None)
        self.assertNotIn("journal_lag_seconds", self.metrics.render().decode())

    def test_unknown(self) -> None:
        """A name that is not in the list, or a label too many or too few, is a mistake of ours."""
        for arguments in (("voidllm_x", ""), ("voidllm_cache_size", ""), ("voidllm_usage_buffer_depth", "x")):
            name, label = arguments
            self.assertRaises(ValueError, self.metrics.read, name, lambda: 1, label)

    def test_broken(self) -> None:
        """A reading that raises takes nothing else away, and is logged once."""

        def broken() -> float:
            raise KeyError("gone")

        self.metrics.read("voidllm_usage_buffer_depth", broken)
        self.metrics.read("voidllm_client_connections", lambda: 4)
        self.metrics.render()
        self.assertEqual(value(self.metrics, "voidllm_client_connections"), 4)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class ImportTests(SynchronousTestCase):
    """What comes along with an import."""

    def test_no_reactor(self) -> None:
        """Telemetry and configuration load no reactor, configuration no Twisted at all."""
        for modules, absent in (
            (("voidllm.telemetry.metrics", "voidllm.telemetry.looplag", "voidllm.telemetry.logs"), "reactor"),
            (("voidllm.config",), "all"),
        ):
            code = f"import sys, {', '.join(modules)}\n" + (
                "print('twisted.internet.reactor' in sys.modules)"
                if absent == "reactor"
                else "print(any(m.split('.')[0] == 'twisted' for m in sys.modules))"
            )
            done: Any = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            self.assertEqual(done.stdout.strip(), "False", modules)
