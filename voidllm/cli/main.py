"""The ``voidllm`` command; imports little, so that help and version come at once."""

from __future__ import annotations

import click

from voidllm import __version__
from voidllm.cli.admin import admin
from voidllm.cli.audit import audit
from voidllm.cli.bench import bench
from voidllm.cli.check import check_config
from voidllm.cli.keys import keys
from voidllm.cli.rotate import rotate_key
from voidllm.cli.serve import serve
from voidllm.cli.settings import Settings
from voidllm.cli.usage import usage


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 refused or not valid (the error says why), 2 wrong command line, "
    "3 neither the running gateway nor its store can be used now.",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="Configuration file. Default: $VOIDLLM_CONFIG, ./voidllm.yaml, /etc/voidllm/voidllm.yaml.",
)
@click.version_option(__version__, "--version", message="voidllm %(version)s")
@click.pass_context
def main(context: click.Context, config: str | None) -> None:
    """Run and manage a VoidLLM gateway.

    The commands work while the gateway runs (through its control socket) and while it is
    stopped (on its store).

    \b
    Examples:
      voidllm serve
      voidllm -c /etc/voidllm/voidllm.yaml check-config
      voidllm keys create --name billing --expires 90d
      voidllm usage --group-by model,status --since 24h
      voidllm audit verify
      voidllm admin reset-password ada@example.org
    """
    context.obj = Settings(config)


@main.command()
def version() -> None:
    """Print the version.

    \b
    Example:
      voidllm version
    """
    click.echo(f"voidllm {__version__}")


main.add_command(serve)
main.add_command(check_config)
main.add_command(keys)
main.add_command(rotate_key)
main.add_command(admin)
main.add_command(usage)
main.add_command(audit)
main.add_command(bench)
