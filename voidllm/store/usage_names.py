"""What the ids in usage reports are called, those of things that are gone too."""

from __future__ import annotations

from typing import Iterable

from voidllm.store import directory
from voidllm.store.statements import PAGE, Op, q


def labels(kind: str, ids: Iterable[str]) -> Op[dict[str, str]]:
    """Read names by their ids; keys have their hint before the name.

    :param kind: ``key``, or one of :func:`voidllm.store.directory.named`.
    """
    wanted = sorted({one for one in ids if one})
    found: dict[str, str] = {}
    for start in range(0, len(wanted), PAGE):
        page = wanted[start : start + PAGE]
        if kind != "key":
            named = yield from directory.named(kind, page)
            found |= {id_: one.email or one.name for id_, one in named.items()}
            continue
        marks = ", ".join("?" * len(page))
        rows = yield q(f"SELECT id, hint, name FROM api_keys WHERE id IN ({marks})", *page)  # noqa: S608
        found |= {id_: f"{hint} {name}" for id_, hint, name in rows}
    return found
