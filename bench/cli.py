"""The command line of the suite."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from . import document as documents
from .environment import BUSY_MOST, busy, describe, stolen
from .generator import GeneratorFailed
from .harness import Failed
from .native.build import NoCompiler
from .progress import Progress
from .rig import Rig
from .scenarios import SCENARIOS
from .suite import Report, Wish, run_scenario
from .table import text_of

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NAMES = [*SCENARIOS, "all"]
#: Shorter runs have blocks without a request in them.
_SHORTEST_S = 0.5


class Duration(click.ParamType):
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
    folder = Path(value).absolute().parent
    if not folder.is_dir() or Path(value).is_dir():
        raise click.BadParameter(f"{value} cannot be written: no such folder, or a folder itself")
    return value


def _help() -> str:
    width = max(map(len, SCENARIOS))
    rows = [f"  {name:<{width}}  {scenario.summary}" for name, scenario in SCENARIOS.items()]
    return "\n".join(["\b", "Scenarios:", *rows, f"  {'all':<{width}}  the above in order"])


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit status: 0 measured, 1 measured but not valid or not complete, 2 could not be measured (the "
    "error says why), 130 interrupted.",
    help="Measure what the gateway costs, beside the same requests without it.\n\n"
    "Starts its own mock servers, load generator and gateway, and ends them. Nothing needs to be set up.\n\n"
    + _help()
    + "\n\n\b\nExamples:\n"
    "  bench                                     quick, about a minute and a half\n"
    "  bench sustained --rps 2000 --duration 60s --json result.json\n"
    "  bench realistic --html report.html        one page with plots\n"
    "  bench all --json - | jq .valid            one JSON document on stdout\n"
    "  bench quick --against nginx,litellm       peers in turn with the gateway",
)
@click.argument("scenario", default="quick", callback=_scenario)
@click.option("--rps", type=float, callback=_rate, help="Requests a second; in burst, of the baseline.")
@click.option("--duration", type=Duration(), help="Of load on each way, all its blocks together: 15s, 2m.")
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
@click.option("--workers", metavar="N", help="workers of the gateway's configuration.")
@click.option("--even", is_flag=True, help="Send at equal distances instead of at random.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random moments.")
@click.option("--keep", is_flag=True, help="Keep the temporary folder with logs and state.")
def main(scenario: str, json_to: str | None, html_to: str | None, **options: Any) -> None:
    """Run it."""
    if html_to is not None:
        from .html import require_matplotlib

        _or_exit(require_matplotlib)
    status = Command(scenario, json_to, html_to, options).run()
    if status:
        sys.exit(status)


def _or_exit(check: Any) -> None:
    try:
        check()
    except Failed as error:
        give_up(str(error))


def give_up(text: str) -> NoReturn:
    """Say why nothing is measured, and end."""
    click.echo(f"error: {text}", err=True)
    sys.exit(2)


class Command:
    """One run, from the command line to what it writes."""

    def __init__(self, scenario: str, json_to: str | None, html_to: str | None, options: dict[str, Any]):
        self.scenario = scenario
        self.json_to, self.html_to = json_to, html_to
        self.options = options
        self.progress = Progress()
        self.reports: list[Report] = []
        self.failures: dict[str, str] = {}
        self.peers: dict[str, Any] = {}
        self.problems: list[str] = []
        self.environment: dict[str, Any] = {}

    def run(self) -> int:
        """Measure and write; gives the exit status."""
        interrupted = False
        self.environment = describe()
        before = stolen()
        try:
            with Rig(
                port=self.options["port"] or 0, keep=self.options["keep"], workers=self.options["workers"]
            ) as rig:
                if self.options["keep"]:
                    self.progress.say(f"keeping {rig.folder}")
                try:
                    self._measure(rig)
                except KeyboardInterrupt:
                    interrupted = True
                    self.progress.say("interrupted: writing what was measured, ending what was started")
        except (Failed, NoCompiler, GeneratorFailed) as error:
            self.progress.end()
            if not self.reports or self.scenario != "all" and not self.reports[0].results:
                give_up(str(error))
            self.failures[self.reports[-1].scenario] = str(error)
        self.progress.end()
        self.environment["stolen_s"] = round(stolen() - before, 2)
        self.environment["busy_after"] = None if interrupted else round(busy(0.3), 3)
        if max(self.environment["busy"], self.environment["busy_after"] or 0) > BUSY_MOST:
            self.problems.append("other programs used the machine before or after the run: figures are high")
        return self._write(interrupted)

    def _measure(self, rig: Rig) -> None:
        alone = rig.alone
        self.environment["alone"] = {
            "rps": alone.rps,
            "cpu_us_per_request": alone.cpu_us,
            "generator": alone.generator,
            "mock": rig.mock.kind,
        }
        wish = Wish(self.options["rps"], self.options["duration"], self.options["even"], self.options["seed"])
        for name in SCENARIOS if self.scenario == "all" else [self.scenario]:
            one = SCENARIOS[name]
            report = Report(name, wish.rps or one.rps, wish.seconds or one.seconds)
            self.reports.append(report)
            try:
                run_scenario(rig, one, wish, self.progress, report)
            except Failed as error:
                if self.scenario != "all":
                    raise
                self.failures[name] = str(error)
        self.environment["cold_start_s"] = rig.cold_start_s
        if self.options["against"] or self.options["peer_binary"]:
            self._measure_peers(rig)

    def _measure_peers(self, rig: Rig) -> None:
        try:
            from . import peers
        except ImportError as error:
            raise Failed("peers cannot be measured: this installation has no bench/peers") from error
        names = [name.strip() for name in (self.options["against"] or "").split(",") if name.strip()]
        self.peers = peers.measure(names, rig, self.options)

    def _write(self, interrupted: bool) -> int:
        value = documents.document(
            self.scenario,
            self.reports,
            self.environment,
            peers=self.peers,
            failures=self.failures,
            interrupted=interrupted,
            problems=self.problems,
        )
        try:
            if self.json_to is not None:
                documents.write(value, self.json_to)
            if self.html_to is not None:
                from .html import page

                documents.write_text(Path(self.html_to), page(value))
        except OSError as error:
            give_up(f"the report cannot be written: {error.strerror}")
        if self.json_to != "-":
            click.echo(text_of(value))
        if interrupted:
            return 130
        return 0 if value["valid"] else 1
