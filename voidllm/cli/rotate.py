"""``voidllm rotate-key``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from voidllm.cli.client import Client, perform
from voidllm.cli.failures import Failed
from voidllm.cli.settings import Settings

#: How often all is looked through again for what was sealed meanwhile with the former key.
_ROUNDS = 10


@click.command("rotate-key")
@click.option("--forget-old", is_flag=True, help="Drop former keys; refused while anything needs them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def rotate_key(settings: Settings, forget_old: bool, as_json: bool) -> None:
    """Encrypt stored secrets anew, with a new key.

    While the gateway runs nothing is interrupted, and API keys stay what they are. Run it again after
    an interruption: it goes on where it was. The new key is added to encryption.key in the state folder;
    with a key from the configuration, put a new one there first.

    Former keys stay until --forget-old drops them. Backups made before need them: save encryption.key with
    those backups first.

    \b
    Examples:
      voidllm rotate-key
      voidllm rotate-key --forget-old
    """
    if forget_old:
        _tell_forgotten(perform(settings, _forget), as_json)
    else:
        _tell(perform(settings, _rotate), as_json)


async def _forget(client: Client) -> dict[str, Any]:
    return await client.encryption("forget_old_keys", {})


async def _rotate(client: Client) -> dict[str, Any]:
    """Rotate to the end; gives how secrets are sealed then, and how many were sealed anew."""
    state = await client.encryption("begin_rotation", {})
    done, failed = 0, set[str]()
    for _ in range(_ROUNDS):
        if not state["remaining"]:
            break
        with click.progressbar(
            length=state["remaining"], label="sealing", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            place: dict[str, Any] | None = {"place": 0, "after": ""}
            while place is not None:
                step = await client.encryption("step_rotation", place)
                done += step["done"]
                failed |= set(step["failed"])
                bar.update(step["done"])
                place = None if step["place"] is None else {name: step[name] for name in ("place", "after")}
        state = await client.encryption("show_encryption", {})
        if failed:
            break
    return {**state, "sealed": done, "failed": sorted(failed)}


def _tell(state: dict[str, Any], as_json: bool) -> None:
    complete = not state["remaining"] and not state["unreadable"]
    if as_json:
        click.echo(json.dumps({**state, "complete": complete}))
    else:
        click.echo(f"{state['sealed']} secrets were sealed anew; key {state['key_id']} seals from now on.")
    if complete:
        if not as_json and len(state["keys"]) > 1:
            click.echo(
                "Nothing is sealed with a former key any more: it may be removed (voidllm rotate-key "
                "--forget-old). Backups made until now still need it: save it with them first."
            )
        return
    lost = [
        f"{one['table']}.{one['column']}: {one['count']} with key {one['key_id']}"
        for one in state["secrets"]
        if not one["readable"]
    ]
    if lost:
        raise Failed("some secrets cannot be read, because their key is not known: " + "; ".join(lost))
    if state["failed"]:
        raise Failed("some secrets do not open with their own key: " + ", ".join(state["failed"]))
    raise Failed("secrets are still being sealed with the former key: run this again in a moment")


def _tell_forgotten(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(done))
        return
    if done["forgotten"]:
        click.echo(f"Forgotten: {', '.join(done['forgotten'])}. Key {done['key_id']} is the only one now.")
    else:
        click.echo(f"Key {done['key_id']} is the only one.")
    if done["configured"]:
        click.echo("Take settings.encryption_keys_old out of the configuration now.")
