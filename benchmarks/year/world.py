"""The world of a pipeline: what it is asked on a day, what is true of that, and what lies at the source."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.csv import write_csv

from benchmarks.chaos.project import NAME, ChaosProject, load_rows
from evergreen.core.durations import DAY
from evergreen.core.files import atomic_write

if TYPE_CHECKING:
    from evergreen.stages.artifacts import Model

TARGET, MOVED, SCALE = "diagnosis", "area", 10.0  # the laboratory changes the unit of its areas, and changes it back
MOVES = 12  # a year
DAYS_BETWEEN_MOVES, FIRST_MOVE = 30, 15
N_ASKED = 100  # rows a day
LABEL_DAYS = 5  # until it is known what was true of a row
STAMPED = ("runs", "tune", "trials", "requests", "monitor", "released", "history", "examples")  # below .evergreen


def count_moves(day: int) -> int:
    """Return how often the world has moved by a day."""
    return min(MOVES, max(0, (day - FIRST_MOVE) // DAYS_BETWEEN_MOVES + 1))


@dataclass(frozen=True)
class World:
    """Ask, label and fill the source; day 0 begins when the project did, by the clock of this machine."""

    project: ChaosProject
    start: float  # of the story, since 1970

    def moment(self, day: int) -> float:
        """Return the time at which a day begins; the first one is tomorrow, so that what is made now is older."""
        return self.start + DAY * (day + 1)

    def rows(self, day: int, count: int) -> pa.Table:
        """Return rows as they come on a day, each of another patient."""
        draw, scale = random.Random(day), SCALE if count_moves(day) % 2 else 1.0
        rows = draw.choices(load_rows().to_pylist(), k=count)
        return pa.Table.from_pylist(
            [
                {
                    name: value * draw.uniform(0.99, 1.01) * (scale if MOVED in name else 1.0)
                    if isinstance(value, float)
                    else value
                    for name, value in row.items()
                }
                for row in rows
            ]
        )

    def fill_source(self, day: int, count: int) -> None:
        """Let the source hold the rows of the world as it is now, and no older ones."""
        folder = self.project.root / "rows"
        with atomic_write(folder / f"day-{day:03}.csv") as temporary:
            write_csv(self.rows(day, count), temporary)
        for path in folder.iterdir():
            if path.name != f"day-{day:03}.csv":
                path.unlink()

    def log(self, day: int, version: str, model: Model) -> None:
        """Log what a version was asked on a day and answered, as a replica does."""
        from evergreen.stages.answer_table import Answers
        from evergreen.stages.deploy.logged_requests import to_batch
        from evergreen.stages.deploy.request_log import Entry

        table = self.rows(day, N_ASKED).drop_columns(TARGET)
        answers: Answers = model.answer(table)
        served: Any = SimpleNamespace(version=version, limits={"log": {"drop": []}})
        at = self.moment(day) + DAY / 2
        ids = [f"{day}-{row}" for row in range(N_ASKED)]
        entry = Entry(NAME, served, table, answers, f"day-{day}", "", 0.005, 0, row_ids=ids, moment=at)
        folder = self.project.paths.requests / datetime.fromtimestamp(at, UTC).date().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"story-{day:x}.parquet") as temporary:
            pq.write_table(pa.Table.from_batches([to_batch([entry])]), temporary, compression="zstd")

    def label(self, day: int, model: Model) -> int:
        """Tell what was true of the rows of a day; return how many labels were added."""
        from evergreen.stages.deploy.late_labels import add_labels

        truths = self.rows(day, N_ASKED)[TARGET].to_pylist()
        labels = [{"id": f"{day}-{row}", "label": truth} for row, truth in enumerate(truths)]
        return int(add_labels(self.project.paths.requests, model.spec, labels)["added"])

    def stamp(self, day: int) -> None:
        """Let what was written since be of this day: files know only the clock of the machine."""
        places = [self.project.root / ".evergreen" / name for name in STAMPED]
        at, today = self.moment(day) + DAY / 2, time.time() + DAY / 2
        for place in [*places, self.project.root / ".dvc" / "cache"]:
            for folder, _, files in os.walk(place):
                for path in [Path(folder), *(Path(folder, name) for name in files)]:
                    with suppress(FileNotFoundError):
                        if path.stat(follow_symlinks=False).st_mtime < today and not path.is_symlink():
                            os.utime(path, (at, at))
