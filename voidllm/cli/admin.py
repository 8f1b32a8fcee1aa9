"""``voidllm admin``: for those who cannot log in any more."""

from __future__ import annotations

import json
from typing import Any

import click

from voidllm.cli.client import Client, perform
from voidllm.cli.settings import Settings
from voidllm.cli.tables import printable


@click.group()
def admin() -> None:
    """Help people who cannot log in any more.

    For the operator of this box: whoever may run this needs neither a password nor a code. What
    is done is in the audit log.

    \b
    Examples:
      voidllm admin reset-password ada@example.org
      voidllm admin disable-totp ada@example.org
    """


@admin.command("reset-password", short_help="Give somebody a new password and print it, this once.")
@click.argument("email")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the password and nothing else.")
@click.pass_obj
def reset_password(settings: Settings, email: str, as_json: bool, quiet: bool) -> None:
    """Give somebody a new password and print it, this once.

    It must be changed at the next login. All sessions of the user end; API keys stay.

    \b
    Example:
      voidllm admin reset-password ada@example.org
    """

    async def work(client: Client) -> dict[str, Any]:
        return await client.reset_password({"email": email})

    made = perform(settings, work)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(made["password"])
    if not quiet:
        click.echo(f"for {printable(made['email'])}, id {made['user_id']}; to be changed at login", err=True)
        click.echo("This is the only time that the password is shown.", err=True)


@admin.command("disable-totp")
@click.argument("email")
@click.pass_obj
def disable_totp(settings: Settings, email: str) -> None:
    """Take away the second factor of somebody who has lost it.

    \b
    Example:
      voidllm admin disable-totp ada@example.org
    """

    async def work(client: Client) -> dict[str, Any]:
        return await client.disable_totp({"email": email})

    done = perform(settings, work)
    click.echo(f"{printable(done['email'])} logs in without a second factor, id {done['user_id']}", err=True)
