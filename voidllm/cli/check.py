"""``voidllm check-config``."""

from __future__ import annotations

import click

from voidllm.cli.settings import Settings


@click.command("check-config", short_help="Tell what is wrong with the configuration.")
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
    if config.source is None:
        click.echo("note: there is no configuration file; the environment and the defaults count", err=True)
    click.echo("configuration is valid")
