"""What the global options say, and the configuration that they lead to."""

from __future__ import annotations

import os
from typing import Any

from voidllm.cli.failures import Failed

_PLACE = frozenset({"state_dir"})
_STORE = frozenset({"state_dir", "database", "settings"})
_MODELS = frozenset({"models"})


class Settings:
    """Global options.

    :param config: the file that was named, or ``None``.
    """

    def __init__(self, config: str | None) -> None:
        self.config = config

    def load(self) -> Any:
        """Read the configuration.

        :raises Failed: with everything that is wrong with it.
        """
        return self._read(None)

    def place(self) -> Any:
        """Read where the gateway lives (``state_dir``), and nothing else.

        A gateway that runs has read the rest, maybe with variables that only its own
        environment holds.

        :raises Failed: see :meth:`load`.
        """
        return self._read(_PLACE)

    def store(self) -> Any:
        """Read what a command needs for the store of a gateway that does not run.

        :raises Failed: see :meth:`load`.
        """
        return self._read(_STORE)

    def models(self) -> frozenset[str] | None:
        """Give all names of configured models, or ``None`` if that cannot be told here."""
        try:
            found = self._read(_MODELS).models
        except Failed:
            return None
        return frozenset(name for model in found for name in (model.name, *model.aliases))

    def _read(self, parts: frozenset[str] | None) -> Any:
        from voidllm.config import ConfigErrors, load_config

        try:
            return load_config(self.config, os.environ, os.getcwd(), parts=parts)
        except ConfigErrors as errors:
            several = "the configuration cannot be used:\n" if len(errors.problems) > 1 else ""
            raise Failed(f"{several}{errors}") from None
