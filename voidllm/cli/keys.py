"""``voidllm keys``."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Mapping

import click

from voidllm.cli.client import Client, every_key, perform
from voidllm.cli.failures import Failed
from voidllm.cli.settings import Settings
from voidllm.cli.tables import printable, table

_TYPES = {"user": "user_key", "team": "team_key", "sa": "sa_key"}
_KEY_TYPES = [*_TYPES, *_TYPES.values()]
#: Fields of the API that options are called otherwise than.
_FIELDS = {
    "org": "org_id",
    "team": "team_id",
    "user": "user_id",
    "service_account": "service_account_id",
    "tokens_per_day": "daily_token_limit",
    "tokens_per_month": "monthly_token_limit",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _limit(name: str, meaning: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(name, type=click.IntRange(0), metavar="N", help=meaning)


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys.

    A change is known to a running gateway within a second.

    \b
    Examples:
      voidllm keys create --name billing --expires 90d --model gpt-4o-mini
      voidllm keys list
      voidllm keys rotate vl_uk_...93af --grace 24h
      voidllm keys revoke vl_uk_...93af
    """


@keys.command(short_help="Make an API key and print it, this once.")
@click.option("--name", default="API key", show_default=True, help="What the key is for.")
@click.option(
    "--type",
    "key_type",
    type=click.Choice(_KEY_TYPES),
    metavar="[user|team|sa]",
    default="user",
    help="Who it speaks for: a user (default), a team, or a service account.",
)
@click.option("--org", metavar="SLUG|ID", help="Organisation; the first one by default.")
@click.option("--team", metavar="SLUG|ID", help="Team; needed for --type team.")
@click.option("--user", metavar="EMAIL|ID", help="User; the first administrator by default.")
@click.option(
    "--service-account",
    metavar="NAME|ID",
    help="Service account, made if there is none; --name is its name by default.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Allow only this model; repeatable.")
@click.option("--no-models", is_flag=True, help="Allow no model at all.")
@click.option("--expires", metavar="DURATION", help="For example 90d; without it the key never expires.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["inference", "admin:read", "admin:write"]),
    help="What it is for; repeatable; inference by default.",
)
@_limit("--requests-per-minute", "Limit; 0, the default, is none.")
@_limit("--requests-per-day", "The same for a day (UTC).")
@_limit("--tokens-per-minute", "Prompt and completion together.")
@_limit("--tokens-per-day", "The same for a day (UTC).")
@_limit("--tokens-per-month", "The same for a calendar month (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the key and nothing else.")
@click.pass_obj
def create(
    settings: Settings,
    /,
    key_type: str,
    models: tuple[str, ...],
    no_models: bool,
    expires: str | None,
    scopes: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **others: Any,
) -> None:
    """Make an API key and print it, this once.

    Only the key goes to standard output, what else there is to say to standard error, so
    that a script can take it as it is.

    \b
    Examples:
      voidllm keys create --name billing
      KEY=$(voidllm keys create -q --name ci --expires 90d --tokens-per-day 200000)
      voidllm keys create --name reports --type sa --scope admin:read
    """
    if models and no_models:
        raise click.UsageError("--model and --no-models exclude each other.")
    body = {_FIELDS.get(name, name): value for name, value in others.items() if value is not None}
    body["key_type"] = _TYPES.get(key_type, key_type)
    if models or no_models:
        body["models"] = list(models)
    if expires is not None:
        body["expires_in"] = expires
    if scopes:
        body["scopes"] = list(scopes)

    async def work(client: Client) -> dict[str, Any]:
        return await client.create_key(body)

    made = perform(settings, work)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(made["key"])
    if not quiet:
        click.echo(f"id {made['id']}, {made['key_type']}, {_until(made)}", err=True)
        click.echo("This is the only time that the key is shown; keep it in a safe place.", err=True)
    if models and (known := settings.models()) is not None:
        for name in models:
            if name not in known:
                shown = printable(name)
                click.echo(f"warning: the configuration has no model or alias {shown}", err=True)


@keys.command("list", short_help="List API keys, oldest first.")
@click.option("--org", metavar="SLUG|ID", help="Only this organisation's.")
@click.option("--all", "everything", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True, help='Print {"data": [...]}.')
@click.pass_obj
def list_(settings: Settings, org: str | None, everything: bool, as_json: bool) -> None:
    """List API keys, oldest first; keys themselves are not stored and cannot be shown.

    \b
    Examples:
      voidllm keys list
      voidllm keys list --all --json
    """
    query = {} if org is None else {"org_id": org}
    if everything:
        query["include_revoked"] = "true"

    async def work(client: Client) -> list[dict[str, Any]]:
        return await every_key(client, query)

    found = perform(settings, work)
    if as_json:
        click.echo(json.dumps({"data": found}, indent=2))
        return
    rows = [
        [
            key["key_hint"],
            printable(key["name"]),
            key["key_type"],
            key["created_at"],
            key["expires_at"] or "never",
            key["revoked_at"] or "-",
            key["id"],
        ]
        for key in found
    ]
    click.echo(table(["HINT", "NAME", "TYPE", "CREATED", "EXPIRES", "REVOKED", "ID"], rows))


@keys.command()
@click.argument("key", metavar="ID|HINT")
@click.pass_obj
def revoke(settings: Settings, key: str) -> None:
    """Revoke an API key for good.

    \b
    Examples:
      voidllm keys revoke vl_uk_...93af
      voidllm keys revoke 0199c0de-7a1b-7c3d-8e9f-0123456789ab
    """

    async def work(client: Client) -> dict[str, Any]:
        return await client.revoke_key(await _resolve(client, key))

    gone = perform(settings, work)
    click.echo(f"revoked {gone['key_hint']} ({printable(gone['name'])}), id {gone['id']}", err=True)


@keys.command()
@click.argument("key", metavar="ID|HINT")
@click.option("--grace", metavar="DURATION", help="How long the old key stays valid; 24h by default.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the new key and nothing else.")
@click.pass_obj
def rotate(settings: Settings, key: str, grace: str | None, as_json: bool, quiet: bool) -> None:
    """Put a new key in the place of an old one and print it, this once.

    The new key has owner, limits, models, scopes and expiry of the old one. Rotate the newest: the
    successor of a key that is in its grace time ends with that.

    \b
    Examples:
      voidllm keys rotate vl_uk_...93af
      voidllm keys rotate vl_uk_...93af --grace 0s
    """
    body = {} if grace is None else {"grace": grace}

    async def work(client: Client) -> dict[str, Any]:
        return await client.rotate_key(await _resolve(client, key), body)

    rotated = perform(settings, work)
    if as_json:
        click.echo(json.dumps(rotated, indent=2))
        return
    click.echo(rotated["new_key"]["key"])
    if not quiet:
        new, old = rotated["new_key"], rotated["old_key"]
        until = _until(new)
        click.echo(f"id {new['id']}, {until}; {old['key_hint']} ends {old['expires_at']}", err=True)
        click.echo("This is the only time that the new key is shown; keep it in a safe place.", err=True)


def _until(made: Mapping[str, Any]) -> str:
    return f"expires {made['expires_at']}" if made["expires_at"] else "does not expire"


async def _resolve(client: Client, given: str) -> str:
    """Find the id of the live key that an id or a hint stands for."""
    if _UUID.fullmatch(given.lower()):
        return given.lower()
    found = [key for key in await every_key(client, {}) if key["key_hint"] == given]
    if not found:
        raise Failed("no live key has this id or hint; see 'voidllm keys list --all'")
    if len(found) > 1:
        ids = ", ".join(key["id"] for key in found)
        raise Failed(f"several keys have this hint; give the id of one of them: {ids}")
    return str(found[0]["id"])
