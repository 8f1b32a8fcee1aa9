"""Writes ``configuration.rst`` from the descriptions that the configuration sections carry.

``python docs/configuration.py`` after a change; a test fails while the page is behind.
"""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Iterator, Union, get_args, get_origin, get_type_hints

import attrs

from voidllm.config import Config, Duration
from voidllm.config.fields import OneOf, Range, about, default_of
from voidllm.config.processes import WorkerCount

PAGE = Path(__file__).parent / "configuration.rst"

HEAD = """\
.. Written by docs/configuration.py from the sections in voidllm/config/; do not edit.

Configuration
=============

One YAML file: what ``--config`` names, else ``$VOIDLLM_CONFIG``, ``./voidllm.yaml`` or
``/etc/voidllm/voidllm.yaml``. Without any, the defaults below hold.

``${NAME}`` and ``${NAME:-default}`` in values come from the environment. Durations are written like
``250ms``, ``1h30m`` or ``90d``. Unknown keys, bad values and missing variables are errors, all reported at
once with key path and line: ``voidllm check-config``. A key whose feature is not built yet is an error
when it switches something on.

A reload (``SIGHUP``) applies the keys marked *live*; the others need a restart. A file with a mistake is
not applied at all.
"""

KINDS = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Duration: "duration",
    WorkerCount: "``auto``, or 1 to 64",
}


def sections(kind: type, path: str = "") -> Iterator[tuple[str, type]]:
    """Give every section below ``kind`` with its key path, in the order of the file."""
    yield path, kind
    hints = get_type_hints(kind)
    for attribute in attrs.fields(kind):
        if about(attribute) is not None:
            name = f"{path}.{attribute.name}" if path else attribute.name
            inner, many = section_of(hints[attribute.name])
            if inner is not None:
                yield from sections(inner, f"{name}[]" if many else name)


def section_of(hint: Any) -> tuple[type | None, bool]:
    """Say which section a key holds, and whether it is a list of them."""
    if get_origin(hint) is tuple:
        return section_of(get_args(hint)[0])[0], True
    for part in (hint, *get_args(hint)):
        if isinstance(part, type) and attrs.has(part):
            return part, False
    return None, False


def values(hint: Any) -> str:
    """Describe what a key takes."""
    if get_origin(hint) is Annotated:
        base, *rules = get_args(hint)
        text = values(base)
        for rule in rules:
            if isinstance(rule, OneOf):
                text = ", ".join(f"``{choice}``" for choice in rule.choices if choice)
            elif isinstance(rule, Range):
                text += bounds(rule, base)
        return text
    if get_origin(hint) in (Union, UnionType):
        known = [values(part) for part in get_args(hint) if part is not type(None)]
        return known[0]
    if get_origin(hint) is tuple:
        return f"list of {values(get_args(hint)[0])}"
    if get_origin(hint) is dict or getattr(hint, "__name__", "") == "Mapping":
        return "mapping"
    return KINDS.get(hint, "number" if getattr(hint, "__name__", "") == "Decimal" else "text")


def bounds(rule: Range, kind: Any) -> str:
    """Write a range; durations as durations."""

    def show(bound: int | float) -> str:
        return str(Duration(bound)) if kind is Duration else str(bound)

    if rule.least is not None and rule.most is not None:
        return f", {show(rule.least)} to {show(rule.most)}"
    if rule.least is not None:
        return f", at least {show(rule.least)}"
    return f", at most {show(rule.most)}" if rule.most is not None else ""


def shown(value: Any) -> str:
    """Write a default as it would stand in the file."""
    if value is None or value == "" or value == ():
        return ""
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, tuple):
        return f"``[{', '.join(map(str, value))}]``"
    return f"``{value}``"


def table(path: str, kind: type) -> Iterator[str]:
    """Write the keys of one section, those apart that are sections themselves."""
    hints = get_type_hints(kind, include_extras=True)
    plain = get_type_hints(kind)
    for attribute in attrs.fields(kind):
        known = about(attribute)
        if known is None or section_of(plain[attribute.name])[0] is not None:
            continue
        facts = [values(hints[attribute.name])]
        default = shown(default_of(attribute))
        if default:
            facts.append(f"default {default}")
        if known.live:
            facts.append("*live*")
        yield f"``{attribute.name}``\n    {known.doc.replace('`', '``')}\n\n    {'; '.join(facts)}\n"


def page() -> str:
    """Give the whole page."""
    parts = [HEAD]
    for path, kind in sections(Config):
        keys = list(table(path, kind))
        if not keys:
            continue
        title = f"``{path}``" if path else "Top level"
        intro = (kind.__doc__ or "").strip().split("\n\n")[0] if path else ""
        parts.append("\n".join([title, "-" * len(title), *([intro, ""] if intro else [""]), *keys]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
