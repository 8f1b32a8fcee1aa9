"""VoidLLM: an LLM gateway that a company runs on its own box."""

__version__ = "0.1.0"

__all__ = ["__version__"]
