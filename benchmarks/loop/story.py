"""One turn of the loop with real engines: what an operator and the world do, and what comes of it."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.chaos.cells import wait_for
from benchmarks.chaos.project import NAME, YAML, ChaosProject, load_rows
from benchmarks.loop.hook import Hook
from evergreen.client import Client
from evergreen.core.files import read_json
from evergreen.flows.challenge import evidence_file
from evergreen.flows.run_log import RunRecord, read_runs
from evergreen.stages.deploy import stage as deploy

TARGET, MOVED, SCALE = "diagnosis", "area", 10.0  # a laboratory gives its areas in another unit from now on
N_ASKED = 300  # rows before anybody knows what is true of them
N_AT_ONCE = 50  # requests between two looks at what a canary showed
LATE = "late.csv"  # the rows of the moved world, once what is true of them is known
MAX_SECONDS = 240.0  # that a step waits for an engine
SETTINGS = """release: ask
monitor: {{schedule: "{schedule}", window: 100}}
retrain: {{drift: true}}
canary: {{max_slowdown: 20, max_seconds: 60}}
notify: {{to: ["{address}"], max_per_hour: 100}}
"""
EACH_MINUTE, NEVER = "* * * * *", "0 0 1 1 *"
Row = dict[str, Any]


class StoryError(Exception):
    """Report that the loop did not close."""


class Story:
    """Tell it upon a project in which a version is served; the short one asks for the look that a schedule brings."""

    def __init__(self, project: ChaosProject, show: Callable[[str], object], *, is_short: bool = False) -> None:
        self.project, self.show, self.is_short = project, show, is_short
        self.paths, self.hook = project.paths, Hook()
        self.before = self.version = self.request = ""
        random_unit = random.Random(0)
        self.usual: list[Row] = load_rows().to_pylist()
        self.rows = [_move(row, random_unit) for row in self.usual]

    def tell(self) -> None:
        """Take the steps in order, a line each with its seconds. Raises StoryError where one shows another thing."""
        steps = [self.ask, self.label, self.notice, self.retrain, self.prove, self.approve, self.hear, self.trace]
        self._write_settings()
        with Client(deploy.status(self.project.root)["url"]) as self.client:  # type: ignore[index]
            for step in [*([] if self.is_short else [self.stay_calm]), *steps[:2]]:
                self._take(step)
            with self._watch():
                for step in steps[2:]:
                    self._take(step)
        self.hook.server.shutdown()

    def stay_calm(self) -> str:
        """Rows as the model knows them."""
        self.client.predict(NAME, [_ask(row) for row in self.usual[:N_ASKED]])
        time.sleep(2.0)  # the log is written each second
        moved = self._evergreen_json("monitor", NAME)["latest"]["moved"]
        _check(not moved, f"nothing moved, and the monitor says {moved}")
        return f"{N_ASKED} rows like those before: the monitor says that nothing moved"

    def ask(self) -> str:
        """The world moves."""
        rows = [_ask(row) | {"_id": f"patient-{number}"} for number, row in enumerate(self.rows[:N_ASKED])]
        answers = self.client.predict(NAME, rows)
        right = sum(answer["prediction"] == row[TARGET] for answer, row in zip(answers, self.rows, strict=False))
        self.before = self.client.describe(NAME)["version"]
        return f"{N_ASKED} rows with areas in another unit: {self.before} answers {right / N_ASKED:.0%} of them rightly"

    def label(self) -> str:
        """What was true is known later: half comes over HTTP, half as a file; all of it into the source."""
        labels = [{"id": f"patient-{n}", "label": row[TARGET]} for n, row in enumerate(self.rows[:N_ASKED])]
        half = N_ASKED // 2
        added = self.client.add_labels(NAME, labels[:half])["added"]
        file = self.project.root.parent / "labels.csv"
        _write_csv(file, labels[half:])
        added += self._evergreen_json("labels", "add", NAME, str(file))["added"]
        _check(added == N_ASKED, f"{added} labels were added")
        _write_csv(self.project.root / "rows" / LATE, self.rows)
        return f"{added} labels, and {len(self.rows)} rows more at the source"

    def notice(self) -> str:
        """The monitor looks, by schedule."""
        if self.is_short:
            look = ("prefect", "deployment", "run", f"monitor/{NAME}")
            _wait("the deployment", lambda: self.project.evergreen(*look).returncode == 0)
        begun = self.paths.monitor / "begun.json"
        reason = _wait("the monitor", lambda: begun.is_file() and read_json(begun, "reason")["reason"])
        latest = read_json(self.paths.monitor / "monitor.json", "latest")["latest"]
        _check(any(MOVED in text for text in latest["moved"]), f"areas moved, and the monitor says {latest['moved']}")
        estimated, true = latest["estimated"]["mean"], latest["true"]
        _check(MOVED in latest["unsure"], f"areas are far out of range, and the monitor says {latest['unsure']!r}")
        said = (
            f"{latest['n_moved']} columns moved, accuracy {true:.2f}, and {estimated:.2f} estimated, which is in doubt"
        )
        return f"{said}: a run begins, for {reason}"

    def retrain(self) -> str:
        """A run by itself."""
        run = _wait("the run", lambda: next((one for one in read_runs(self.paths) if _has_ended(one)), None))
        _check(run.end == "ok" and "waits" in run.why, f"the run ended {run.end}: {run.why}")
        return run.why

    def prove(self) -> str:
        """A canary answers half of the callers."""
        value = self._evergreen_json("deploy", NAME, "--canary", "50%", "--reason", "seen in the report")
        self.version, numbers = value["version"], iter(range(1_000_000))

        def ask_and_look() -> Any:
            asked = [(next(numbers), row) for row in random.sample(self.rows, N_AT_ONCE)]
            for number, row in asked:
                self.client.predict(NAME, [_ask(row) | {"_id": f"visit-{number}"}])
            self.client.add_labels(NAME, [{"id": f"visit-{number}", "label": row[TARGET]} for number, row in asked])
            file = evidence_file(self.paths)
            found = read_json(file) if file.is_file() else {"verdict": ""}
            return found["verdict"] and found

        found = _wait("the canary", ask_and_look)
        _check(found["verdict"] == "ask", f"{found['verdict']}: {found['why']}")
        return f"{self.version}, {next(numbers):,} requests: {found['why']}"

    def approve(self) -> str:
        """A person decides."""
        value = self._evergreen_json("approve", NAME, "--reason", "the canary holds")
        _check(value["version"] == self.version, f"{value['version']} was approved, {self.version} was proved")
        answers = self.client.predict(NAME, [_ask(row) for row in self.rows])
        right = sum(answer["prediction"] == row[TARGET] for answer, row in zip(answers, self.rows, strict=True))
        served = self.client.describe(NAME)["version"]
        _check(served == self.version, f"{served} is served")
        return f"{served} is in service and answers {right / len(self.rows):.0%} rightly"

    def hear(self) -> str:
        """Everybody hears."""
        said = "\n".join(body["message"] for body in self.hook.bodies)
        events = ["drift", "waiting", "released"]
        _check(all(f"{NAME} ({event}," in said for event in events), f"people heard {said}")
        return f"{len(self.hook.bodies)} messages: {', '.join(self.hook.titles)}"

    def trace(self) -> str:
        """From an answer to its version, from a row to the versions that learned from it."""
        (made,) = self._evergreen_json("trace", "patient-17")["versions"]
        _check(made["version"] == self.before, f"{made['version']} answered patient-17")
        origin = f"{LATE}#17"
        learned = [one["version"] for one in self._evergreen_json("trace", "--row", origin)["versions"][NAME]]
        _check(learned == [self.version], f"{origin} is in {learned}")
        return f"patient-17 was answered by {self.before}; {origin} is in {self.version} alone"

    def _write_settings(self) -> None:
        schedule = NEVER if self.is_short else EACH_MINUTE
        text = YAML.replace("trials: 2", "time_budget_s: 0") if self.is_short else YAML
        self.paths.pipeline.write_text(text + SETTINGS.format(schedule=schedule, address=self.hook.address))
        self.project.git("commit", "-qam", "watch it")

    def _take(self, step: Callable[[], str]) -> None:
        start = time.monotonic()
        said = step()
        self.show(f"{time.monotonic() - start:6.1f} s  {step.__name__.replace('_', ' '):<10}  {said}")

    @contextmanager
    def _watch(self) -> Iterator[None]:
        """Let `evergreen watch` run in the block."""
        log = self.project.root.parent / "watch.txt"
        with log.open("wb") as file:
            command, variables = self.project.command("watch"), self.project.variables
            watching = subprocess.Popen(command, cwd=self.project.root, env=variables, stdout=file, stderr=file)
        try:
            yield
        except StoryError as error:
            raise StoryError(f"{error}; watch said: {log.read_text(errors='replace')[-2000:]}") from error
        finally:
            watching.terminate()
            watching.wait(60)

    def _evergreen_json(self, *arguments: str) -> Any:
        done = self.project.evergreen(*arguments, "--json")
        _check(done.returncode == 0, f"evergreen {' '.join(arguments)}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)


def _move(row: Row, random_unit: random.Random) -> Row:
    """Return a row as the laboratory gives it now, of another patient than before."""
    return {
        name: value * random_unit.uniform(0.99, 1.01) * (SCALE if MOVED in name else 1.0)
        if isinstance(value, float)
        else value
        for name, value in row.items()
    }


def _ask(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != TARGET}


def _has_ended(run: RunRecord) -> bool:
    return run.trigger in ("drift", "loss") and run.end != "running"


def _write_csv(file: Any, rows: list[Row]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _check(is_so: bool, problem: str) -> None:
    if not is_so:
        raise StoryError(problem)


def _wait(what: str, look: Callable[[], Any]) -> Any:
    found = wait_for(look, MAX_SECONDS)
    _check(bool(found), f"{what} did nothing within {MAX_SECONDS:.0f} s")
    return found
