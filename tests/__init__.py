"""Tests; the folders mirror ``voidllm/``."""
