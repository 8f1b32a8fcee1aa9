"""One run of the suite, from the command line to what it writes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from . import document as documents
from . import peers
from .control_plane import ControlPlane
from .environment import BUSY_MOST, busy, describe, stolen
from .generator import GeneratorFailed
from .harness import Failed, must_be_free
from .native.build import NoCompiler
from .progress import Progress
from .rig import Rig, interruptible
from .scenarios import SCENARIOS
from .suite import Report, Wish, run_scenario
from .table import text_of
from .targets import QUICK, Effort, Targets
from .verdicts import Figures, missed

#: Exit status, as shells have it for SIGINT.
INTERRUPTED = 130


class CannotMeasure(Exception):
    """Nothing was measured; the text says why."""


class Command:
    """One run.

    :param scenario: a name of a scenario, ``all`` or ``targets``.
    :param json_to: file for the document, ``-`` for stdout.
    :param html_to: file for the page.
    :param options: the others of the command line.
    """

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
        program = "voidllm bench" if __name__.startswith("voidllm.") else "./dev bench"
        self.line = shlex.join([*program.split(), *sys.argv[1:]])
        names = (options.get("against") or "").split(",")
        self.against = [name.strip() for name in names if name.strip()]

    def run(self) -> int:
        """Measure and write; gives the exit status.

        :raises CannotMeasure: nothing was measured, or it cannot be written.
        """
        if self.html_to is not None:
            from .html import require_matplotlib

            require_matplotlib()
        if self.options["port"]:
            must_be_free(self.options["port"])
        interrupted = False
        with interruptible():
            try:
                self._start()
            except KeyboardInterrupt:
                interrupted = True
                self.progress.say("interrupted: what was started has been ended")
        self.progress.end()
        if not self.environment:
            return INTERRUPTED
        return self._write(interrupted)

    def _start(self) -> None:
        if self._with_peers:
            peers.prepare(self.against, self.options, self.progress.say)
        self.environment = describe()
        before = stolen()
        options = self.options
        try:
            with Rig(port=options["port"] or 0, keep=options["keep"], workers=options["workers"]) as rig:
                if options["keep"]:
                    self.progress.say(f"keeping {rig.folder}")
                self._measure(rig)
        except (Failed, NoCompiler, GeneratorFailed) as error:
            if not any(report.results for report in self.reports):
                raise CannotMeasure(str(error)) from error
            self.failures["peers" if self.reports[-1].complete else self.reports[-1].scenario] = str(error)
        self.environment["stolen_s"] = round(stolen() - before, 2)
        self.environment["busy_after"] = round(busy(0.3), 3)
        if max(self.environment["busy"], self.environment["busy_after"]) > BUSY_MOST:
            self.problems.append("other programs used the machine before or after the run: figures are high")

    @property
    def _with_peers(self) -> bool:
        return bool(self.against or self.options["peer_binary"])

    def _measure(self, rig: Rig) -> None:
        alone = rig.alone
        self.environment["alone"] = {
            "rps": alone.rps,
            "cpu_us_per_request": alone.cpu_us,
            "generator": alone.generator,
            "mock": rig.mock.kind,
        }
        if self.scenario == "targets":
            self._targets(rig)
        elif self.scenario == "control-plane":
            self._control_plane(rig)
        else:
            self._scenarios(rig)
        self.environment["cold_start_s"] = rig.cold_start_s
        if self._with_peers:
            peers.measure(self.against, rig, self.options, self.peers)

    def _scenarios(self, rig: Rig) -> None:
        options = self.options
        wish = Wish(options["rps"], options["duration"], options["even"], options["seed"])
        for name in SCENARIOS if self.scenario == "all" else [self.scenario]:
            one = SCENARIOS[name]
            report = Report(name, wish.rps or one.rps, wish.seconds or one.seconds)
            self.reports.append(report)
            try:
                run_scenario(rig, one, wish, self.progress, report)
            except (Failed, GeneratorFailed) as error:
                if self.scenario != "all":
                    raise
                self.failures[name] = str(error)

    def _targets(self, rig: Rig) -> None:
        report = Report("targets", 0, 0)
        self.reports.append(report)
        figures = Figures()
        seconds = self.options["duration"]
        effort = QUICK if self.options["quick"] else Effort.of(seconds) if seconds else Effort()
        seed = self.options["seed"]
        targets = Targets(rig, effort, self.progress, figures, seed, report.reasons, report.notes)
        try:
            targets.measure()
            report.complete = True
        finally:
            if figures.found:
                report.results["figures"] = figures.to_json()

    def _control_plane(self, rig: Rig) -> None:
        seconds, rate = self.options["duration"] or 30.0, self.options["rps"] or 2000.0
        report = Report("control-plane", rate, seconds)
        self.reports.append(report)
        figures = Figures()
        try:
            ControlPlane(rig, self.progress, figures, rate, seconds).measure()
            report.complete = True
        finally:
            if figures.found:
                report.results["figures"] = figures.to_json()

    def _write(self, interrupted: bool) -> int:
        value = documents.document(
            self.scenario,
            self.reports,
            self.environment,
            command=self.line,
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
            # What was measured is not lost with the file.
            click.echo(text_of(value))
            raise CannotMeasure(f"the report cannot be written: {error.strerror}") from error
        if self.json_to != "-":
            click.echo(text_of(value))
        if interrupted:
            return INTERRUPTED
        figures = value["results"].get("figures", ())
        return 0 if value["valid"] and not missed(figures) else 1
