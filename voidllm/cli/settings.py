"""What the global options say, and the configuration that they lead to."""

from __future__ import annotations

import os
from typing import Any

from voidllm.cli.failures import Failed


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
        from voidllm.config import ConfigErrors, load_config

        try:
            return load_config(self.config, os.environ, os.getcwd())
        except ConfigErrors as errors:
            raise Failed(str(errors)) from None
