"""What the tests with OpenAI's SDK share: one gateway and one mock upstream for a class of tests."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from decimal import Decimal
from typing import Any, Awaitable, Callable, ClassVar, Mapping, TypeVar

import openai
from twisted.trial.unittest import SynchronousTestCase
from twisted.trial.util import suppress

from tests.harness import Gateway, MockLLM, custom_model, free_port, request, wait_until

T = TypeVar("T")

#: USD per million tokens; every cost they give is a whole number of nano-USD.
PRICING = {"input_per_1m": 0.15, "output_per_1m": 0.6, "cached_input_per_1m": 0.075, "reasoning_per_1m": 1.2}

#: What the models of the gateway are called, for what, and at the upstream.
MODELS = {
    "chat": "mock-model",
    "mock-echo": "",
    "embed": "mock-embed",
    "paint": "mock-image",
    "speak": "mock-tts",
    "listen": "mock-whisper",
    "judge": "mock-moderation",
    "thinker": "mock-fault-cached-3+reasoning-5",
    "usage-everywhere": "mock-fault-usageevery",
    "usage-nowhere": "mock-fault-nousage",
}
TYPES = {"embed": "embedding", "paint": "image", "speak": "tts", "listen": "audio_transcription"}
ALIASES = {"chat": ["gpt-4o-alias", "vendor/chat"]}


def models(base_url: str) -> list[dict[str, Any]]:
    """Describe the models of :data:`MODELS`, as the configuration does."""
    found = []
    for name, upstream in MODELS.items():
        more: dict[str, Any] = {"pricing": PRICING, "type": TYPES.get(name, "chat")}
        if upstream:
            more["upstream_model"] = upstream
        if name in ALIASES:
            more["aliases"] = ALIASES[name]
        found.append(custom_model(name, base_url, **more))
    return found


def nano(prompt: int, completion: int, cached: int = 0, reasoning: int = 0) -> int:
    """Say what tokens cost by :data:`PRICING`, in nano-USD; worked out apart from the gateway."""
    price = {name: Decimal(str(value)) * 1000 for name, value in PRICING.items()}
    total = (
        (prompt - cached) * price["input_per_1m"]
        + cached * price["cached_input_per_1m"]
        + (completion - reasoning) * price["output_per_1m"]
        + reasoning * price["reasoning_per_1m"]
    )
    assert total == int(total)
    return int(total)


def header(record: Mapping[str, Any], name: str) -> str | None:
    """Give a header of a request as the mock recorded it."""
    return dict(map(tuple, record["headers"])).get(name)


class SDKCase(SynchronousTestCase):
    """A gateway, a mock upstream and SDK clients, shared by the tests of a class.

    :cvar settings: further configuration of the gateway.
    """

    #: What the SDK calls deprecated is still called by applications.
    suppress = [suppress(category=DeprecationWarning)]

    settings: ClassVar[Mapping[str, Any]] = {}
    mock: ClassVar[MockLLM]
    gateway: ClassVar[Gateway]
    client: ClassVar[openai.OpenAI]

    @classmethod
    def setUpClass(cls) -> None:
        """Start both processes."""
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="sdk", ignore_cleanup_errors=True)
        cls.addClassCleanup(folder.cleanup)
        cls.mock = MockLLM()
        cls.addClassCleanup(cls.mock.stop)
        # Rows are looked at in the database, so they should be there soon.
        soon = {"usage": {"flush_interval": "50ms"}}
        cls.gateway = Gateway(folder.name, cls.more_models(), settings=soon, **cls.settings)
        cls.gateway.start()
        cls.addClassCleanup(cls.gateway.kill)
        cls.client = cls.sdk(cls.gateway.key)
        cls.addClassCleanup(cls.client.close)

    @classmethod
    def more_models(cls) -> list[dict[str, Any]]:
        """Give the models beside the demo."""
        return models(cls.mock.base_url)

    @classmethod
    def sdk(cls, key: str, **options: Any) -> openai.OpenAI:
        """Make a client that does not try again."""
        return openai.OpenAI(api_key=key, base_url=cls.gateway.base_url, **{"max_retries": 0, **options})

    def client_with(self, key: str, **options: Any) -> openai.OpenAI:
        """Make a client for one test."""
        client = self.sdk(key, **options)
        self.addCleanup(client.close)
        return client

    async def with_async(self, work: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """Do ``work`` with an asynchronous client."""
        async with openai.AsyncOpenAI(
            api_key=self.gateway.key, base_url=self.gateway.base_url, max_retries=0
        ) as client:
            return await work(client)

    def make_key(self, *options: str) -> dict[str, Any]:
        """Make an API key by the ``voidllm`` command; it works when this returns."""
        made = dict(json.loads(self.gateway.cli("keys", "create", "--json", "--name", "a test's", *options)))
        wait_until(lambda: self.models_status(made["key"]) != 401, "the new key to be known")
        return made

    def new_key(self, *options: str) -> str:
        """Make an API key and give nothing but it."""
        return str(self.make_key(*options)["key"])

    def models_status(self, key: str) -> int:
        """Say with which status the list of models is answered for ``key``."""
        return request(self.gateway.port, "GET", "/v1/models", headers={"authorization": f"Bearer {key}"})[0]

    def recorded(self, request_id: str | None) -> dict[str, Any]:
        """Give the one upstream call that had ``request_id``, as the mock recorded it."""
        found = [
            one for one in self.mock.get("/__mock/requests") if header(one, "x-request-id") == request_id
        ]
        self.assertEqual(len(found), 1, "upstream calls with this request id")
        return dict(found[0])

    def rows(self, request_id: str | None) -> list[dict[str, Any]]:
        """Give the usage rows with ``request_id``, from the database, as soon as there is one."""
        return list(wait_until(lambda: self._rows(request_id), "a usage row"))

    def _rows(self, request_id: str | None) -> list[dict[str, Any]]:
        path = self.gateway.state_dir / "voidllm.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            found = database.execute("SELECT * FROM usage_events WHERE request_id = ?", (request_id,))
            return [dict(row) for row in found]

    def rule(self, fault: str, times: int = 1, path: str = "", model: str | None = None) -> None:
        """Have the mock fail on purpose."""
        body = json.dumps({"fault": fault, "times": times, "path": path, "model": model}).encode()
        status = request(self.mock.port, "POST", "/__mock/faults", body)[0]
        self.assertEqual(status, 200)


def dead_base_url() -> str:
    """Give a base URL at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}/v1"


def say(text: str = "hello there") -> list[Any]:
    """Give a conversation of one message."""
    return [{"role": "user", "content": text}]
