"""Short ways to parse a configuration and to see what is wrong with it."""

from __future__ import annotations

import textwrap
from typing import Mapping

from voidllm.config import Config, ConfigErrors, parse_config


def parse(text: str, environ: Mapping[str, str] | None = None, cwd: str = "") -> Config:
    """Parse an indented text."""
    return parse_config(textwrap.dedent(text), environ or {}, "t.yaml", cwd)


def faults(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Give every message, without the file name; empty when all is well."""
    try:
        parse(text, environ)
    except ConfigErrors as errors:
        return [line.removeprefix("t.yaml:") for line in str(errors).splitlines()]
    return []
