"""Live the days: the world moves, the monitor looks, runs begin by themselves, and processes die."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from benchmarks.chaos.cells import wait_for
from benchmarks.chaos.project import NAME, ChaosProject, load_rows
from benchmarks.year.engines import Engines, StoryError
from benchmarks.year.figures import age_prefect, list_tags, take_figures
from benchmarks.year.world import LABEL_DAYS, World, count_moves
from evergreen.client import Client
from evergreen.core.files import write_json
from evergreen.core.processes import lock_owner
from evergreen.flows.monitoring import look
from evergreen.flows.run_log import read_runs
from evergreen.stages.artifacts import Model, load_model
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.engines import versions
from evergreen.stages.pipeline import read

WEEK, MONTH, HALF = 7, 30, 180  # days
TARGETS = ("", "driver", "watch", "Prefect")  # who dies while a run after a move is under way, in turn
STRIKE_S = 12.0  # longest time from a run's beginning to a strike
KILL_S = (0.3, 4.0)  # from the start of a housekeeping, or a monitor, to its SIGKILL
BEGIN_S = 60.0  # for a run to begin by itself
TRIES = 4
SECONDS = len("2026-01-31T23:59:59")  # of a moment in ISO 8601
Json = dict[str, Any]


class Year:
    """Live the days of a story, which `state` holds, so that it goes on where it was ended."""

    def __init__(self, project: ChaosProject, state: Json, show: Callable[[str], object]) -> None:
        self.project, self.paths, self.state, self.show = project, project.paths, state, show
        self.world, self.engines = World(project, state["start"]), Engines(project)
        self.models: dict[str, Model] = {}

    def live(self, n_days: int) -> None:
        """Live until so many days are over. Raises StoryError where it does not go on."""
        if deploy.status(self.project.root) is None:  # it goes on
            self.project.evergreen("serve")
        self.engines.watch()
        for day in range(self.state["day"], n_days):
            self._live_day(day)
            self.state["day"] = day + 1
            write_json(self.project.root.parent / "year.json", self.state)
        self.engines.stop_watching()

    @property
    def version(self) -> str:
        return versions.released(self.project.root)[NAME]

    def _live_day(self, day: int) -> None:
        if count_moves(day) > count_moves(day - 1):
            self.world.fill_source(day, len(load_rows()))
        self.world.log(day, self.version, self._open(self.version))
        if day >= LABEL_DAYS:
            self.state["labels"] += self.world.label(day - LABEL_DAYS, self._open(self.version))
        latest = look(read(NAME, self.project.root), self.paths)["latest"]
        self.state["looks"] += 1
        if day % WEEK == WEEK - 1:
            self._end_week(day, moved=bool(latest and latest["moved"]))
        self.world.stamp(day)
        if day % MONTH == MONTH - 1:
            self._end_month(day)
        if day == HALF:
            self._go_back_and_forth()

    def _open(self, version: str) -> Model:
        if version not in self.models:
            self.models = {version: load_model(versions.checkout(self.paths, version))}
        return self.models[version]

    def _end_week(self, day: int, *, moved: bool) -> None:
        """Ask the endpoint, clean at the story's time, which a kill may end, and let `watch` look each second week."""
        self._ask(day)
        begun = datetime.now(UTC).isoformat()
        draw, week, ahead = random.Random(f"week {day}"), day // WEEK, self.world.moment(day) - time.time()
        for words, is_struck in ((("monitor", NAME), week % 3 == 2), (("du", "--clean"), week % 3 == 1)):
            if is_struck:
                self.engines.command(ahead, *words, kill_after_s=draw.uniform(*KILL_S))
                self._count(words[0])
            if is_struck or words[0] == "du":
                self.engines.command(ahead, *words)
        if week % 2 == 0:
            return
        runs = [self.engines.begin(one) for one in (f"monitor/{NAME}", *["housekeeping/project"] * (week % 4 == 3))]
        ends = [self.engines.wait_for_run(run) for run in runs]
        if {*ends} != {"COMPLETED"}:
            self.state["problems"].append(f"day {day}: what watch began ended {', '.join(ends)}")
        if moved:
            self._retrain(day, draw, begun)

    def _retrain(self, day: int, draw: random.Random, begun: str) -> None:
        """Wait until a run that began by itself has decided; who dies in its midst, TARGETS say."""
        before, start, move = self.version, time.monotonic(), count_moves(day)
        target = TARGETS[move % len(TARGETS)]
        wait_for(lambda: lock_owner(self.paths.run_lock), BEGIN_S)
        if target:
            time.sleep(draw.uniform(0, STRIKE_S))
            self.engines.strike(target)
            self._count(target)
        asked = 0
        while not (self._is_served(before) or self._stays(before, begun)):
            if asked >= TRIES:
                raise StoryError(f"day {day}: after {target or 'nothing'} died, nothing was decided about {before}")
            if asked or not lock_owner(self.paths.run_lock):
                self.engines.watch()
                self.engines.wait_for_run(self.engines.begin(f"lifecycle/{NAME}", name=NAME, trigger="schedule"))
                asked += 1
            self.engines.wait("the run", lambda: not lock_owner(self.paths.run_lock))
            self.engines.watch()
        seconds = time.monotonic() - start
        trigger = next(read_runs(self.paths)).trigger
        self.state["retrains"].append(
            {"day": day, "version": self.version, "is_new": self.version != before}
            | {"struck": target, "asked": asked, "by": trigger, "seconds": seconds}
        )
        self.show(f"day {day}: {before} → {self.version}, {target or 'nobody'} died, {seconds:.0f} s, asked {asked}")

    def _count(self, target: str) -> None:
        self.state["strikes"][target] = self.state["strikes"].get(target, 0) + 1

    def _is_served(self, before: str) -> bool:
        status = deploy.status(self.project.root)
        return bool(
            self.version != before
            and not lock_owner(self.paths.run_lock)
            and status
            and status["pipelines"].get(NAME) == self.version
        )

    def _stays(self, before: str, begun: str) -> bool:
        """Tell whether a run came to its end since, and its gate could not tell the candidate from the version."""
        newest = next(read_runs(self.paths))
        is_over = newest.is_update and newest.end == "ok" and newest.started[:SECONDS] >= begun[:SECONDS]
        return is_over and self.version == before and not lock_owner(self.paths.run_lock)

    def _ask(self, day: int) -> None:
        rows = self.world.rows(day, 5).drop_columns("diagnosis").to_pylist()
        status = deploy.status(self.project.root)
        if not status:
            raise StoryError(f"day {day}: nothing is served")
        with Client(status["url"]) as client:
            answers = client.predict(NAME, rows)
            if len(answers) != len(rows) or client.describe(NAME)["version"] != self.version:
                raise StoryError(f"day {day}: {self.version} does not answer")

    def _go_back_and_forth(self) -> None:
        """Let a person roll back, and forth again: a tag an event."""
        version, before = self.version, len(list_tags(self.project, ".*"))
        for words in (("rollback", NAME), ("rollback", NAME, version)):
            done = self.project.evergreen(*words)
            if done.returncode:
                raise StoryError(f"evergreen {' '.join(words)}: {done.stderr[-500:]}")
        self.state["events"] += 2
        if (n_more := len(list_tags(self.project, ".*")) - before) != 2 or self.version != version:
            self.state["problems"].append(f"two events made {n_more} tags, {self.version} is in service")

    def _end_month(self, day: int) -> None:
        watching = self.engines.watching.pid if self.engines.watching else None
        self.state["figures"].append(take_figures(self.project, day, watching))
        age_prefect(self.project.root, MONTH)
        self.engines.strike("Prefect")  # which removes what is old each hour, and as it starts
        self._count("Prefect")
        said = {name: round(sum(one.values())) for name, one in self.state["figures"][-1].items() if type(one) is dict}
        self.show(f"day {day}: {said} MB, status {self.state['figures'][-1]['status']:.2f} s")
