"""``voidllm serve``."""

from __future__ import annotations

import sys

import click

from voidllm.cli.settings import Settings


@click.command(short_help="Run the gateway in the foreground.")
@click.option(
    "-l",
    "--listen",
    metavar="ENDPOINT",
    help="Twisted server endpoint to listen on instead of server.proxy in the configuration.",
)
@click.pass_obj
def serve(settings: Settings, listen: str | None) -> None:
    """Run the gateway in the foreground, as 'twistd -n voidllm' does.

    SIGTERM and Ctrl-C let running replies end, a second one ends at once, SIGHUP reloads
    the configuration.

    \b
    Examples:
      voidllm serve
      voidllm -c etc/voidllm.yaml serve --listen tcp:9000:interface=127.0.0.1
    """
    arguments = ["twistd", "--nodaemon", "--pidfile=", "voidllm"]
    if settings.config is not None:
        arguments += ["--config", settings.config]
    if listen is not None:
        arguments += ["--listen", listen]
    from twisted.scripts.twistd import run

    sys.argv = arguments
    run()  # type: ignore[no-untyped-call]
