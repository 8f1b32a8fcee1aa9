"""One measurement each: a run of the generator, and what its numbers mean."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define

from bench.gateway import MODEL
from bench.harness import LOAD_CORE, Failed, Mock, Target, pin
from bench.native.build import build

_FILLER = "Give a short answer to a question that stands here only to make the body as long as usual. "


def chat_body(size: int, *, stream: bool = False) -> bytes:
    """Make a chat request of ``size`` bytes (within one of it)."""
    value: dict[str, Any] = {"model": MODEL}
    if stream:
        value["stream"] = True
    value |= {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    missing = size - len(json.dumps(value))
    value["messages"][1]["content"] = (_FILLER * (missing // len(_FILLER) + 1))[: max(0, missing)]
    return json.dumps(value).encode()


@define
class Bench:
    """Runs the generator against targets.

    :ivar problems: what went wrong in runs, for the report.
    """

    folder: Path
    problems: list[str]
    log: Any

    def run(self, mode: str, target: Target, body: bytes, *, stream: bool = False, **options: Any) -> Any:
        """Run the generator once and give its JSON.

        :raises Failed: it did not run to its end.
        """
        file = self.folder / "body.json"
        file.write_bytes(body)
        port = target.stream_port if stream else target.port
        words = [str(build("load")), mode, "--port", str(port), "--body", str(file)]
        for name, value in target.headers.items():
            words += ["--header", f"{name}: {value}"]
        if target.pid is not None:
            words += ["--watch", str(target.pid)]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=120, check=True, preexec_fn=pin(LOAD_CORE)
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise Failed(f"load {mode} against {target.name}: {error}") from error
        got = json.loads(done.stdout)
        what = f"{mode} {target.name} {options.get('rate', '')}".strip()
        if got["error_count"]:
            self.problems.append(f"{what}: {got['error_count']} failed of {got['total']}: {got['errors']}")
        if got.get("events_lost"):
            self.problems.append(f"{what}: {got['events_lost']} events lost or out of order")
        self.log(f"  {what}: " + _brief(got))
        return got

    def closed(self, targets: list[Target], body: bytes, seconds: float, repeats: int) -> dict[str, Any]:
        """Saturate each target with 256 connections, in turn, ``repeats`` times; give medians."""
        runs: dict[str, list[Any]] = {t.name: [] for t in targets}
        for turn in range(repeats):
            for target in targets if turn % 2 == 0 else reversed(targets):
                got = self.run("closed", target, body, connections=256, seconds=seconds, warmup=0.5)
                runs[target.name].append(got)
        return {
            name: {
                "rps": median(g["rps"] for g in gots),
                "cpu_us": median(cpu_us(g) for g in gots),
                "rps_runs": [g["rps"] for g in gots],
            }
            for name, gots in runs.items()
        }

    def added(
        self, mock: Mock, targets: list[Target], body: bytes, rate: float, seconds: float, repeats: int
    ) -> dict[str, Any]:
        """Compare targets with the direct way at one rate, blocks interleaved; give medians over repeats.

        Each block of a target is compared with the mean of the direct blocks before and after it.
        """
        rows: dict[str, list[dict[str, float]]] = {t.name: [] for t in targets}
        common: dict[str, Any] = {"rate": rate, "seconds": seconds, "connections": 128, "warmup": 0.4}
        before = self.run("open", mock, body, **common)
        for turn in range(repeats):
            for target in targets if turn % 2 == 0 else reversed(targets):
                got = self.run("open", target, body, **common)
                after = self.run("open", mock, body, **common)
                row = {"cpu_us": cpu_us(got), "rps": got["rps"]}
                for point in ("p50", "p99"):
                    direct = (before[f"{point}_us"] + after[f"{point}_us"]) / 2
                    row[point] = got[f"{point}_us"] - direct
                rows[target.name].append(row)
                before = after
        return {
            name: {
                **{key: median(r[key] for r in found) for key in ("p50", "p99", "cpu_us", "rps")},
                "p50_runs": [r["p50"] for r in found],
                "p99_runs": [r["p99"] for r in found],
            }
            for name, found in rows.items()
        }

    def streams(self, target: Target, count: int, seconds: float, ramp: float) -> Any:
        """Hold ``count`` streams; their speed is the mock's setting."""
        body = chat_body(400, stream=True)
        options = {"connections": count, "seconds": seconds, "ramp": ramp, "warmup": 0.5}
        got = self.run("sse", target, body, stream=True, **options)
        if got["streams_live"] < count:
            self.problems.append(
                f"{target.name}: only {got['streams_live']} of {count} streams live at the end"
            )
        got["cpu_us_per_event"] = got["watch_cpu_s"] * 1e6 / max(1, got["events"])
        return got


def cpu_us(got: Any) -> float:
    """Give the watched process's CPU microseconds for each request of the window."""
    return float(got["watch_cpu_s"] * 1e6 / max(1, got["completed"]))


def _brief(got: Any) -> str:
    if got["mode"] == "sse":
        text = f"{got['events'] / got['window_s']:.0f} events/s, delay p50 {got['event_p50_us']} us"
    else:
        text = f"{got['rps']:.0f} req/s, p50 {got['p50_us']} us, p99 {got['p99_us']} us"
    return text + (f", {got['error_count']} errors" if got["error_count"] else "")
