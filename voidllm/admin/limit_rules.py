"""What limits somebody may set: never beyond those of the scope above, and one's own only downwards.

0 is no limit of its own: a scope with 0 has whatever the scopes above it leave. It is therefore
allowed under a limited one, and taking a limit away counts as raising it.

Each scope enforces its own limits on every request, so a parent that is lowered below its children
binds them at once: nothing has to be changed of them, and they are refused only when they are set anew.
"""

from __future__ import annotations

from typing import Iterable, Iterator

from attrs import asdict

from voidllm.admin.limit_shapes import NAMES
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits

#: Fields of :class:`~voidllm.core.principal.Limits` to those of the API.
_SHOWN = {own: name for name, own in NAMES.items()}


def require_within_parent(child: Limits, parents: Iterable[tuple[str, Limits]]) -> None:
    """Refuse a limit that is greater than that of a scope above.

    :param child: the limits that are to be set.
    :param parents: what each scope above is called, such as ``team``, and its limits.
    :raises Refusal: 400 ``bad_request``; ``param`` is the field as the API names it.
    """
    for name, parent in parents:
        for field, wanted, most in _pairs(child, parent):
            if most and wanted > most:
                raise Refusal(
                    400, "bad_request", f"this limit may not be greater than that of the {name}", field
                )


def require_only_lowered(old: Limits, new: Limits) -> None:
    """Refuse to raise a limit, or to take one away.

    :raises Refusal: 403 ``forbidden``; ``param`` is the field as the API names it.
    """
    for field, wanted, most in _pairs(new, old):
        if most and not 0 < wanted <= most:
            raise Refusal(
                403, "forbidden", "only somebody above may raise this limit, or take it away", field
            )


def _pairs(one: Limits, other: Limits) -> Iterator[tuple[str, int, int]]:
    others = asdict(other)
    for field, number in asdict(one).items():
        yield _SHOWN[field], number, others[field]
