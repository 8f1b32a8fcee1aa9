"""A configuration as others may see it, and what of a change only a restart applies."""

from __future__ import annotations

from typing import Any

import attrs

from voidllm.config.durations import Duration
from voidllm.config.fields import Key, about
from voidllm.config.processes import WorkerCount
from voidllm.config.urls import without_credentials

HIDDEN = "***"


def redact(section: Any) -> dict[str, Any]:
    """Give a section, and all below it, as a plain dict in which no secret is left.

    Secrets that are set become ``"***"``, credentials within URLs too; durations are text.
    """
    shown: dict[str, Any] = {}
    for attribute in attrs.fields(type(section)):
        described = about(attribute)
        if described is not None:
            shown[attribute.name] = _show(getattr(section, attribute.name), described)
    return shown


def _show(value: Any, described: Key) -> Any:
    if described.show == "secret":
        return HIDDEN if value else ""
    if attrs.has(type(value)):
        return redact(value)
    if isinstance(value, tuple):
        return [_show(item, described) for item in value]
    if value is None or isinstance(value, (bool, float)) or type(value) is int:
        return value
    if isinstance(value, WorkerCount):
        return int(value) or str(value)
    if isinstance(value, Duration):
        return str(value)
    return without_credentials(str(value)) if described.show == "url" else str(value)


def diff_needs_restart(old: Any, new: Any) -> list[str]:
    """Give the keys that differ between two configurations and that a reload does not apply.

    :param old: the section in force, usually the whole configuration.
    :param new: the same section as it is now.
    :returns: dotted names in the order of the reference page.
    """
    found: list[str] = []
    for attribute in attrs.fields(type(old)):
        described = about(attribute)
        before, after = getattr(old, attribute.name), getattr(new, attribute.name)
        if described is None or described.live or before == after:
            continue
        if attrs.has(type(before)):
            found += [f"{attribute.name}.{name}" for name in diff_needs_restart(before, after)]
        else:
            found.append(attribute.name)
    return found
