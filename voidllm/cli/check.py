"""``voidllm check-config``."""

from __future__ import annotations

import click

from voidllm.cli.settings import Settings


@click.command("check-config")
@click.pass_obj
def check_config(settings: Settings) -> None:
    """Read the configuration and tell everything that is wrong with it, at once.

    Nothing is started and nothing is changed. The exit status is 1 if it is not valid.

    \b
    Examples:
      voidllm check-config
      voidllm -c new.yaml check-config && sudo systemctl reload voidllm
    """
    config = settings.load()
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo("configuration is valid")
