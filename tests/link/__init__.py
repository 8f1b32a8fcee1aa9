"""Tests of voidllm.link."""
