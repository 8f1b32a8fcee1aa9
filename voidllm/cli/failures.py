"""Errors that a person is meant to read: one message, an exit status, no traceback."""

from __future__ import annotations

from typing import IO, Any

import click


class Failed(click.ClickException):
    """The command was refused, or something given to it is not valid."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        click.echo(f"voidllm: {self.message}", err=True, file=file)


class Unreachable(Failed):
    """Neither the running gateway nor its store can be used now."""

    exit_code = 3
