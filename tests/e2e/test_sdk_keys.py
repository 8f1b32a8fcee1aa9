"""Keys, names and ids as an application with OpenAI's SDK meets them."""

from __future__ import annotations

import uuid
from typing import Any

import openai

from tests.e2e.sdk import ALIASES, SDKCase, header, say
from tests.harness import wait_until

UUID = "0b7c8d10-51f3-4a10-8f00-00000000000a"


class KeyAndNameTests(SDKCase):
    """Where a key may be and what it may do; which names and ids are used on which side."""

    def chat(self, client: openai.OpenAI | None = None, model: str = "chat", **headers: Any) -> Any:
        """Make a chat call with further headers."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (client or self.client).chat.completions.create(
            model=model, messages=say(), extra_headers=given
        )

    def test_headers(self) -> None:
        """A key is taken from any of its three headers, and from several if they agree."""
        key, none = self.gateway.key, openai.Omit()
        for headers in (
            {"Authorization": none, "x_api_key": key},
            {"Authorization": none, "api_key": key},
            {"x_api_key": key, "api_key": key},
        ):
            self.assertTrue(self.chat(**headers).choices)

    def test_two_keys(self) -> None:
        """Two different keys are a BadRequestError, even if both are good, and call no upstream."""
        other = self.new_key()
        before = self.mock.get("/__mock/state")["requests_total"]
        for headers in (
            {"x_api_key": other},
            {"api_key": other},
            {"Authorization": openai.Omit(), "x_api_key": other, "api_key": self.gateway.key},
        ):
            error: Any = self.assertRaises(openai.BadRequestError, self.chat, **headers)
            self.assertEqual(error.code, "bad_request")
            self.assertNotIn(other, str(error.body))
        self.assertEqual(self.mock.get("/__mock/state")["requests_total"], before)

    def test_access(self) -> None:
        """A key sees and calls the models on its list and no others, whichever name is used."""
        client = self.client_with(self.new_key("--model", "chat"))
        self.assertEqual([m.id for m in client.models.list()], ["chat"])
        for name in ("chat", *ALIASES["chat"]):
            self.assertTrue(self.chat(client, name).choices)
            self.assertEqual(client.models.retrieve(name).id, "chat")
        error: Any = self.assertRaises(openai.PermissionDeniedError, self.chat, client, "mock-echo")
        self.assertEqual((error.code, error.param), ("model_access_denied", "model"))
        (row,) = self.rows(error.request_id)
        self.assertEqual((row["status"], row["model"]), (403, "mock-echo"))
        hidden: Any = self.assertRaises(openai.NotFoundError, client.models.retrieve, "mock-echo")
        self.assertEqual(hidden.code, "model_not_found")
        upload = ("a.wav", b"x" * 1000, "audio/wav")
        self.assertRaises(
            openai.PermissionDeniedError, client.audio.transcriptions.create, model="listen", file=upload
        )

    def test_no_models(self) -> None:
        """A key for no models sees none and may call none."""
        client = self.client_with(self.new_key("--no-models"))
        self.assertEqual(list(client.models.list()), [])
        self.assertRaises(openai.PermissionDeniedError, self.chat, client)

    def test_scope(self) -> None:
        """A key that is made for administration calls no model."""
        client = self.client_with(self.new_key("--scope", "admin:read"))
        error: Any = self.assertRaises(openai.PermissionDeniedError, self.chat, client)
        self.assertEqual(error.code, "insufficient_scope")
        self.assertEqual(len(error.request_id), 36)

    def test_rotated_and_revoked(self) -> None:
        """A rotated key works beside its successor; a revoked one is an AuthenticationError soon after."""
        old = self.make_key()
        new = self.gateway.cli("keys", "rotate", "--quiet", old["id"]).strip()
        wait_until(lambda: self.models_status(new) == 200, "the new key to be known")
        self.assertTrue(self.chat(self.client_with(new)).choices)
        client = self.client_with(old["key"])
        self.assertTrue(self.chat(client).choices)
        self.gateway.cli("keys", "revoke", old["id"])
        wait_until(lambda: self.models_status(old["key"]) == 401, "the key to be revoked", 5)
        error: Any = self.assertRaises(openai.AuthenticationError, self.chat, client)
        self.assertEqual(error.code, "unauthorized")

    def test_upstream_name(self) -> None:
        """An alias finds its model; the upstream sees its own name and key, and nothing of the client."""
        for name in ("chat", *ALIASES["chat"]):
            done = self.client.chat.completions.create(
                model=name,
                messages=say(),
                extra_headers={
                    "OpenAI-Organization": "org-secret",
                    "Cookie": "session=secret",
                    "X-Forwarded-For": "10.9.8.7",
                },
            )
            record = self.recorded(done._request_id)
            self.assertEqual(record["json"]["model"], "mock-model")
            self.assertEqual(record["target"], "/v1/chat/completions")
            names = {n for n, _ in record["headers"]}
            self.assertLessEqual(
                names,
                {"host", "content-type", "user-agent", "authorization", "x-request-id", "accept"}
                | {"content-length", "connection", "accept-encoding"},
            )
            self.assertEqual(header(record, "authorization"), "Bearer sk-upstream")
            self.assertNotIn(self.gateway.key, str(record))
            self.assertNotIn("secret", str(record))
            (row,) = self.rows(done._request_id)
            self.assertEqual((row["model"], row["requested_model"]), ("chat", name))

    def test_uploads_upstream_name(self) -> None:
        """An upload is renamed as well; its other parts stay as they are."""
        raw = self.client.audio.transcriptions.with_raw_response.create(
            model="listen",
            file=("Grüße.wav", b"\r\n--x\r\n" * 1000, "audio/wav"),
            prompt="Grüße 🎉",
            temperature=0.5,
            timestamp_granularities=["word", "segment"],
        )
        record = self.recorded(raw.headers["x-request-id"])
        fields = record["form"]["fields"]
        self.assertEqual([v for n, v in fields if n == "model"], ["mock-whisper"])
        self.assertEqual([v for n, v in fields if n == "prompt"], ["Grüße 🎉"])
        self.assertEqual([v for n, v in fields if n.startswith("timestamp")], ["word", "segment"])
        (upload,) = record["form"]["files"]
        self.assertEqual(
            (upload["filename"], upload["type"], upload["size"]), ("Grüße.wav", "audio/wav", 7000)
        )
        self.assertNotIn(self.gateway.key, str(record))

    def test_same_name(self) -> None:
        """A model without a name of its own at the upstream keeps its name; text comes back unharmed."""
        text = 'Grüße 🎉 "quoted" \\ \u2028 \x7f <tag> ' + "日本語" * 50
        for stream in (False, True):
            made: Any = self.client.chat.completions.create(
                model="mock-echo", messages=say(text), stream=stream
            )
            if stream:
                got = "".join(chunk.choices[0].delta.content or "" for chunk in made)
            else:
                got = made.choices[0].message.content
            self.assertEqual(got, text)

    def test_body(self) -> None:
        """What the gateway does not know goes on as it is, to the last digit; options are merged."""
        raw = self.client.chat.completions.with_raw_response.create(
            model="chat",
            messages=say(),
            stream=True,
            stream_options={"include_obfuscation": False},
            seed=9007199254740993,
            extra_body={"vendor": {"deep": [1e-7, 1.50, None, True], "big": 123456789012345678901234567890}},
        )
        list(raw.parse())
        sent = self.recorded(raw.headers["x-request-id"])
        self.assertEqual(
            sent["json"]["stream_options"], {"include_obfuscation": False, "include_usage": True}
        )
        self.assertEqual(sent["json"]["seed"], 9007199254740993)
        self.assertEqual(sent["json"]["vendor"]["big"], 123456789012345678901234567890)
        self.assertEqual(sent["json"]["vendor"]["deep"], [1e-7, 1.5, None, True])

    def test_request_id(self) -> None:
        """A UUID that the client gives is on the reply, the upstream call and the usage row."""
        done = self.client.chat.completions.create(
            model="chat", messages=say(), extra_headers={"X-Request-Id": UUID}
        )
        self.assertEqual(done._request_id, UUID)
        self.assertEqual(self.recorded(UUID)["json"]["model"], "mock-model")
        self.assertEqual([row["status"] for row in self.rows(UUID)], [200])

    def test_own_request_id(self) -> None:
        """Anything else is replaced by a UUID of ours; the upstream's own id goes nowhere."""
        for given in ("not-a-uuid", "s" * 500, None):
            headers = {} if given is None else {"X-Request-Id": given}
            done = self.client.chat.completions.create(
                model="chat", messages=say(), extra_headers=headers, stream=False
            )
            self.assertEqual(uuid.UUID(done._request_id).version, 7)
            self.recorded(done._request_id)
        self.assertEqual(len(self.rows(done._request_id)), 1)
