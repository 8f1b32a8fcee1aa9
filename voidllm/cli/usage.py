"""``voidllm usage``."""

from __future__ import annotations

import json
from typing import Any

import click

from voidllm.cli.client import Client, every_key, perform
from voidllm.cli.settings import Settings
from voidllm.cli.tables import paint, printable, table

_NANO = 1_000_000_000
_NUMBERS = ("total_requests", "prompt_tokens", "completion_tokens")
_HEADINGS = {"total_requests": "REQUESTS", "prompt_tokens": "PROMPT", "completion_tokens": "COMPLETION"}


@click.command()
@click.option(
    "--group-by",
    default="model,status",
    show_default=True,
    metavar="A,B,...",
    help="Out of model, status, key, team, org, user, service_account, provider, deployment, endpoint, "
    "kind, source, tag, month, day, hour; '' for one sum.",
)
@click.option(
    "--since",
    default="30d",
    show_default=True,
    metavar="WHEN",
    help="A span before now, a date (UTC) or a moment: 24h, 2026-01-31, 2026-01-31T12:00:00Z.",
)
@click.option("--until", metavar="WHEN", help="The same; now by default.")
@click.option("--json", "as_json", is_flag=True, help='Print {"data": [...]}.')
@click.pass_obj
def usage(settings: Settings, group_by: str, since: str, until: str | None, as_json: bool) -> None:
    """Tell what was used and what it cost, up to this moment.

    Hours of the last two weeks and days before them that overlap the span count whole; days are those
    of the organisation's time zone. Refused and failed requests are counted too, by their status. The
    table names keys, JSON has their ids. At most the 10,000 most used rows are given.

    \b
    Examples:
      voidllm usage
      voidllm usage --group-by key
      voidllm usage --group-by team,model --since 2026-01-01 --until 2026-02-01
      voidllm usage --json --group-by day --since 7d
    """
    query = {"group_by": group_by, "since": since}
    if until is not None:
        query["until"] = until
    if not group_by.strip():
        # An empty argument would be taken for one that is not given.
        query["group_by"] = ","

    groups = [name.strip() for name in group_by.split(",") if name.strip()]

    async def work(client: Client) -> dict[str, Any]:
        report = await client.usage(query)
        if "key" in groups and not as_json:
            found = await every_key(client, {"include_revoked": "true"})
            names = {key["id"]: f"{key['key_hint']} {key['name']}" for key in found}
            for row in report["data"]:
                row["key"] = names.get(row["key"], row["key"])
        return report

    report = perform(settings, work)
    if as_json:
        click.echo(json.dumps({"data": report["data"]}, indent=2))
        return
    click.echo(_show(groups, report["data"]))


def _show(groups: list[str], data: list[dict[str, Any]]) -> str:
    header = [name.upper() for name in groups] + [_HEADINGS[name] for name in _NUMBERS] + ["COST USD"]
    rows = [
        [printable(str(row[name])) or "-" for name in groups]
        + [f"{row[name]:,}" for name in _NUMBERS]
        + [_dollars(row["cost_nano"])]
        for row in data
    ]
    right = frozenset(range(len(groups), len(header)))
    lines = table(header, rows, right).split("\n")
    if "status" in groups:
        lines[1:] = [_tinted(row["status"], line) for row, line in zip(data, lines[1:], strict=True)]
    return "\n".join([*lines, paint(_total(data), bold=True)])


def _dollars(nano: int) -> str:
    return f"{nano // _NANO:,}.{nano % _NANO // 1000:06d}"


def _counted(requests: int) -> str:
    return f"{requests:,} request{'' if requests == 1 else 's'}"


def _tinted(status: str, line: str) -> str:
    if status >= "500":
        return paint(line, fg="red")
    return paint(line, fg="yellow") if status >= "400" else line


def _total(data: list[dict[str, Any]]) -> str:
    requests, prompt, completion = (sum(row[name] for row in data) for name in _NUMBERS)
    nano = sum(row["cost_nano"] for row in data)
    unpriced = sum(row["unpriced_requests"] for row in data)
    text = f"total: {_counted(requests)}, {prompt:,} + {completion:,} tokens, {_dollars(nano)} USD"
    return f"{text} ({_counted(unpriced)} without a price)" if unpriced else text
