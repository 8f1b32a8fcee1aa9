"""``${VAR}`` and ``${VAR:-default}`` in values."""

from __future__ import annotations

import re
from typing import Mapping

from voidllm.config.errors import Unusable

_TOKEN = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_WHOLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}\Z")
_MOST = 64 * 1024


def is_whole(text: str) -> bool:
    """Say whether ``text`` is one interpolation and nothing else."""
    return _WHOLE.match(text) is not None


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Replace every interpolation in ``text``; what comes in is not looked at again.

    An empty variable counts as unset. A default ends at the first ``}``. ``$${`` gives ``${``.

    :raises Unusable: naming a variable that is not set and has no default, or saying that
        the text is malformed or becomes too long.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            raise Unusable(
                "holds '${' that is no ${NAME} or ${NAME:-default}; write '$${' for the characters"
            )
        value = environ.get(name) or match[2]
        if value is None:
            raise Unusable(f"needs the environment variable {name}, which is not set")
        return value

    result = _TOKEN.sub(replace, text)
    if len(result) > _MOST:
        raise Unusable(f"is longer than {_MOST} characters")
    return result
