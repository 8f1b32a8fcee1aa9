"""Sphinx settings."""

from voidllm import __version__

project = "VoidLLM"
author = "The VoidLLM authors"
project_copyright = "2026, The VoidLLM authors"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"VoidLLM {release}"
nitpicky = True
