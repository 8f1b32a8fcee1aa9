"""``expand=``: rows of a list with the names of what they refer to by id."""

from __future__ import annotations

from typing import Any, Iterable, TypeVar

from msgspec import UNSET, Struct, structs

from voidllm.admin.kinds import Named, Page
from voidllm.store import records

R = TypeVar("R", bound=Struct)


async def expanded(store: Any, page: Page[R], names: Iterable[str]) -> Page[R]:
    """Give a page whose rows have, beside ``x_id``, also ``x``.

    :param names: which; each row has both fields.
    """
    rows = page.data
    for name in dict.fromkeys(names):
        ids = {given for row in rows if (given := getattr(row, f"{name}_id")) is not None}
        found = await store.named(name, ids) if ids else {}
        rows = [structs.replace(row, **{name: _shown(found.get(getattr(row, f"{name}_id")))}) for row in rows]
    return structs.replace(page, data=rows)


def _shown(named: records.Named | None) -> Named | None:
    if named is None:
        return None
    return Named(
        id=named.id,
        name=named.name,
        slug=UNSET if named.slug is None else named.slug,
        email=UNSET if named.email is None else named.email,
    )
