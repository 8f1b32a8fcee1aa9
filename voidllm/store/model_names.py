"""Which names stored models have."""

from __future__ import annotations

from voidllm.store.statements import PAGE, Op, q


def stored_among(names: tuple[str, ...], aliases: bool = False) -> Op[frozenset[str]]:
    """Say which of ``names`` a stored model has, switched off or not.

    :param aliases: names that are aliases count too.
    """
    found: set[str] = set()
    for start in range(0, len(names), PAGE):
        some = names[start : start + PAGE]
        rows = yield q(
            f"SELECT name FROM model_names WHERE name IN ({', '.join('?' * len(some))})"  # noqa: S608
            f"{'' if aliases else ' AND place = 0'}",
            *some,
        )
        found.update(name for (name,) in rows)
    return frozenset(found)
