"""How values that are made for every request are declared.

``attrs.frozen`` sets each attribute through ``object.__setattr__``: 1.5 us for the 25 fields of a
usage event, against 0.4 us for plain assignments. So :func:`value` is ``frozen`` for the type
checker, which refuses every assignment, and ``define`` with a hash at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["value"]

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    from functools import partial

    from attrs import define

    value = partial(define, unsafe_hash=True)
