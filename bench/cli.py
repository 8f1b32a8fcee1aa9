"""The command line of the suite."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from . import reports
from .command import CannotMeasure, Command
from .harness import Failed
from .scenarios import SCENARIOS

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NAMES = [*SCENARIOS, "all", "targets", "control-plane", "reports"]
#: Shorter runs have blocks without a request in them.
_SHORTEST_S = 0.5


class Duration(click.ParamType[float]):
    """Seconds, or a number with ``ms``, ``s``, ``m`` or ``h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Give seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|)", str(value))
        if not found:
            self.fail(f"{value!r} is no duration; examples: 15s, 2m, 1h", param, context)
        seconds = float(found[1]) * _UNITS[found[2]]
        if not _SHORTEST_S <= seconds <= 7 * 86400:
            self.fail(f"{value!r} is not between {_SHORTEST_S:g} s and a week", param, context)
        return seconds


def _scenario(context: click.Context, param: click.Parameter, value: str) -> str:
    if value not in _NAMES:
        raise click.BadParameter(f"there is no scenario {value!r}; there are {', '.join(_NAMES)}")
    return value


def _rate(context: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < 1e7:
        raise click.BadParameter(f"{value:g} requests a second are impossible; it must be above 0")
    return value


def _output(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a file that cannot be written now, not after half an hour."""
    if value is None or (value == "-" and param.name == "json_to"):
        return value
    if value == "-":
        raise click.BadParameter("a page goes to a file, not to standard output")
    file = Path(value).resolve()
    if not file.parent.is_dir() or file.is_dir():
        raise click.BadParameter(f"{value} cannot be written: no such folder, or a folder itself")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.BadParameter(f"{value} cannot be written: permission denied, or a read-only file system")
    return value


def _workers(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if (
        value is not None
        and value != "auto"
        and not (value.isascii() and value.isdigit() and 0 < int(value) < 65)
    ):
        raise click.BadParameter("it must be auto or a number from 1 to 64")
    return value


def _help() -> str:
    width = max(map(len, SCENARIOS))
    rows = [f"  {name:<{width}}  {scenario.summary}" for name, scenario in SCENARIOS.items()]
    rows.append(f"  {'all':<{width}}  the above in order")
    rows.append(
        f"  {'control-plane':<{width}}  100,000 keys, changes, and 50 administrators who write at once"
    )
    rows.append(f"  {'reports':<{width}}  reports on a million events, on SQLite and on PostgreSQL")
    rows.append(f"  {'targets':<{width}}  figures for speed and memory beside nginx and their targets")
    return "\n".join(["\b", "Scenarios:", *rows])


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 measured; 1 measured, but not valid or a target missed; 2 could not be measured "
    "(the error says why); 130 interrupted.",
    help="Measure what the gateway costs, beside the same requests without it.\n\n"
    "Starts its own mock servers, load generator and gateway, and ends them. Nothing needs to be set up.\n\n"
    + _help()
    + "\n\n\b\nExamples:\n"
    "  bench                                     quick, about a minute and a half\n"
    "  bench sustained --rps 2000 --duration 60s --json result.json\n"
    "  bench realistic --html report.html        one page with plots\n"
    "  bench all --json - | jq .valid            one JSON document on stdout\n"
    "  bench quick --against nginx,litellm       peers in turn with the gateway\n"
    "  bench targets --quick                     every target, in short and noisy runs",
)
@click.argument("scenario", default="quick", callback=_scenario)
@click.option("--rps", type=float, callback=_rate, help="Requests a second; in burst, of the baseline.")
@click.option(
    "--duration",
    type=Duration(),
    help="Of load on each way, all its blocks together: 15s, 2m. Of targets: of the run at 5,000 rps.",
)
@click.option(
    "--json", "json_to", metavar="FILE", callback=_output, help="Write one JSON document; - for stdout."
)
@click.option(
    "--html", "html_to", metavar="FILE", callback=_output, help="Write one self-contained page with plots."
)
@click.option("--against", metavar="PEER,...", help="Measure these too: nginx, litellm, lm-proxy.")
@click.option(
    "--peer-binary",
    type=click.Path(exists=True, dir_okay=False),
    help="Measure this voidllm program in Go too.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Where the gateway listens. Default: a free one.")
@click.option(
    "--workers",
    metavar="N",
    callback=_workers,
    help="workers of the gateway's configuration; auto or 1 to 64.",
)
@click.option("--even", is_flag=True, help="Send at equal distances instead of at random.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random moments.")
@click.option("--quick", is_flag=True, help="Of targets: short runs, noisier. Of reports: fewer events.")
@click.option("--keep", is_flag=True, help="Keep the temporary folder with logs and state.")
def main(scenario: str, json_to: str | None, html_to: str | None, **options: Any) -> None:
    """Run it."""
    if scenario == "targets" and options["rps"]:
        raise click.UsageError(
            "targets has its own rates; --duration (of the run at 5,000 rps; 5m) or --quick make it shorter"
        )
    if options["quick"] and scenario not in ("targets", "reports"):
        raise click.UsageError("--quick is for targets and reports; --duration makes other runs shorter")
    if scenario == "reports":
        sys.exit(reports.run(100_000 if options["quick"] else 1_000_000, json_to))
    try:
        status = Command(scenario, json_to, html_to, options).run()
    except (CannotMeasure, Failed) as error:
        click.echo(f"error: {error}", err=True)
        status = 2
    if status:
        sys.exit(status)
