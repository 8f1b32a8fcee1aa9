"""Rate-limit headers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from voidllm.limits.headers import duration, render


class HeaderTests(SynchronousTestCase):
    """OpenAI's form."""

    def test_durations(self) -> None:
        """Durations are written with the units that are needed."""
        expected = {
            -5: b"0ms",
            0: b"0ms",
            17: b"17ms",
            1000: b"1s",
            1500: b"1.5s",
            60_000: b"1m0s",
            90_050: b"1m30.05s",
            3_600_000: b"1h0m0s",
            86_399_000: b"23h59m59s",
        }
        self.assertEqual({ms: duration(ms) for ms in expected}, expected)

    def test_render(self) -> None:
        """There are three headers a unit; what is overdrawn has nothing left."""
        self.assertEqual(
            render(b"tokens", 100, -7, 1500),
            (
                (b"x-ratelimit-limit-tokens", b"100"),
                (b"x-ratelimit-remaining-tokens", b"0"),
                (b"x-ratelimit-reset-tokens", b"1.5s"),
            ),
        )
