"""``voidllm audit``."""

from __future__ import annotations

import json
import sys
from typing import Any, Iterator, Mapping

import click

from voidllm.cli.client import Client, perform
from voidllm.cli.failures import Failed
from voidllm.cli.settings import Settings

_PAGE = "100"
_FAULTS = {
    "altered": "entry {seq} is not what was written, or not in its place",
    "missing": "entry {seq} is missing",
    "truncated": "the log ends before entry {seq}",
    "beyond_head": "entry {seq} was not written by a gateway",
    "headless": "nothing says any more where it ends",
}


@click.group()
def audit() -> None:
    """Check and export the audit log.

    It is the record of administrative changes, of logins, and of what was refused.

    \b
    Examples:
      voidllm audit verify
      voidllm audit export --since 30d > audit.ndjson
    """


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing if all is well.")
@click.pass_obj
def verify(settings: Settings, as_json: bool, quiet: bool) -> None:
    """Check that no entry was altered or taken out.

    Exit status 1 names the first that was. Each entry's hash covers the entry before it. Keep the number
    and the hash that this prints in another place: if 'voidllm audit export' later shows another hash for
    that entry, the log was written anew as a whole.

    \b
    Example:
      voidllm audit verify
    """

    async def work(client: Client) -> dict[str, Any]:
        found = await client.verify_audit({})
        total, looked = found["head_seq"] - found["first_seq"] + 1, found["entries"]
        shown = sys.stderr.isatty() and not quiet and not found["complete"]
        with click.progressbar(length=total, label="checking", file=sys.stderr, hidden=not shown) as bar:
            bar.update(looked)
            while not found["complete"]:
                after = {"after": str(found["last_seq"]), "after_hash": found["last_hash"]}
                found = await client.verify_audit(after)
                looked += found["entries"]
                bar.update(found["entries"])
        return {**found, "entries": looked}

    found = perform(settings, work)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    if not found["ok"]:
        told = _FAULTS[found["fault"]["kind"]].format(seq=found["fault"]["seq"])
        raise Failed(f"the audit log is broken: {told}; {found['entries']:,} entries before it are sound")
    if not as_json and not quiet:
        dropped = found["first_seq"] - 1
        tail = f" ({dropped:,} older ones were dropped for their age)" if dropped else ""
        click.echo(f"{found['entries']:,} entries are what was written{tail}")
        click.echo(f"newest: {found['head_seq']} {found['head_hash'] or '-'}")


@audit.command()
@click.option("--since", metavar="WHEN", help="A span before now, a date (UTC) or a moment; all by default.")
@click.option("--until", metavar="WHEN", help="The same; now by default.")
@click.option("--org", metavar="ORG", help="Id or slug of an organisation.")
@click.option("--action", metavar="ACTION", help="Such as create, update, delete, login.")
@click.option("--refused", is_flag=True, help="What was refused only.")
@click.pass_obj
def export(
    settings: Settings,
    since: str | None,
    until: str | None,
    org: str | None,
    action: str | None,
    refused: bool,
) -> None:
    """Print entries, oldest first, one JSON object a line.

    \b
    Examples:
      voidllm audit export > audit.ndjson
      voidllm audit export --since 24h --refused
    """
    outcome = "refused" if refused else None
    asked = {"from": since, "to": until, "org_id": org, "action": action, "outcome": outcome}
    query = {name: value for name, value in asked.items() if value is not None}

    async def work(client: Client) -> None:
        cursor: Mapping[str, str] = {}
        while True:
            page = await client.audit_logs({**query, "limit": _PAGE, "sort": "timestamp", **cursor})
            for line in _lines(page["data"]):
                click.echo(line)
            if not page["has_more"]:
                return
            cursor = {"cursor": page["next_cursor"]}

    perform(settings, work)


def _lines(data: list[Any]) -> Iterator[str]:
    for entry in data:
        yield json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
