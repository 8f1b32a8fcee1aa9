"""OpenAI's SDK through the gateway: every call, on every front and every upstream engine."""

from __future__ import annotations

from tests.e2e.sdk import SDKCase
from tests.e2e.sdk_calls import Calls, MockCalls


class DefaultTests(MockCalls, SDKCase):
    """The shipped defaults."""


class TwistedFrontTests(MockCalls, SDKCase):
    """twisted.web alone, as ``server.front: twisted`` has it."""

    settings = {"server": {"front": "twisted"}}


class TreqEngineTests(MockCalls, SDKCase):
    """Every upstream call through treq."""

    settings = {"upstream": {"engine": "treq"}}


class DirectEngineTests(MockCalls, SDKCase):
    """Every upstream call on the pool itself."""

    settings = {"upstream": {"engine": "direct"}}


class WorkersTests(MockCalls, SDKCase):
    """Two workers behind the port."""

    settings = {"workers": 2}


class DemoTests(Calls, SDKCase):
    """The demo model, which the gateway answers itself."""

    named = dict.fromkeys(("chat", "embed", "paint", "speak", "listen", "judge"), "demo")
    opening = "Hello!"
