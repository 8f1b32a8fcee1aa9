"""Tells ``twistd`` about the gateway; loaded on every ``twistd --help``, so it imports nothing of ours."""

from twisted.application.service import ServiceMaker

voidllm = ServiceMaker(
    "VoidLLM",
    "voidllm.twistd",
    "An LLM gateway: one OpenAI-compatible door to many model servers.",
    "voidllm",
)
