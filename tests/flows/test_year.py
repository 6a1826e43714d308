"""What `make year` is made of, without engines: its clock, its world, and what it says of growth."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from benchmarks.year.figures import find_growth
from benchmarks.year.world import MOVES, World, count_moves
from evergreen.core.durations import DAY
from evergreen.core.paths import IMPORT_ROOT


def test_a_command_reads_the_clock_that_is_ahead():
    code = "import time, benchmarks.year.moved_clock as c; c.move_clock(864000); log = c.logged_requests"
    said = subprocess.run(
        [sys.executable, "-c", f"{code}; print(time.time(), log.datetime.now(log.UTC).timestamp())"],
        cwd=IMPORT_ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [float(word) - time.time() for word in said.split()] == pytest.approx([10 * DAY] * 2, abs=600)


def test_the_world_moves_twelve_times_a_year_and_is_the_same_each_time(paths):
    assert [count_moves(day) for day in (0, 14, 15, 44, 45, 364)] == [0, 0, 1, 1, 2, MOVES]
    world = World(SimpleNamespace(root=paths.root, paths=paths), time.time())
    before, after = (world.rows(day, 50) for day in (14, 15))
    assert after.equals(world.rows(15, 50))
    areas = [sum(table["mean_area"].to_pylist()) for table in (before, after)]
    assert 5 < areas[1] / areas[0] < 20


def test_what_is_written_on_a_day_is_of_that_day_and_stays_so(paths):
    world = World(SimpleNamespace(root=paths.root, paths=paths), time.time())
    first, second = (paths.requests / name for name in ("a", "b"))
    first.parent.mkdir(parents=True)
    first.touch()
    world.stamp(3)
    second.touch()
    world.stamp(7)
    days = [(os.stat(path).st_mtime - world.start) / DAY for path in (first, second)]
    assert days == pytest.approx([4.5, 8.5], abs=0.01)


def test_growth_is_that_since_all_should_be_level_of_what_both_hold():
    def figures(disk: float, cache: float, **memory: float) -> dict:
        return {"disk": {"request log": disk, "DVC's cache": cache}, "memory": memory, "status": 1.0, "day": 0}

    level = [figures(10, 1, Prefect=100)] * 4
    assert find_growth(level) == {}
    growth = find_growth([*level, figures(12, 99, Prefect=150, watch=70)])
    assert growth == pytest.approx({"disk": 1.2, "memory": 1.5, "status": 1.0})


def test_a_day_is_logged_as_a_replica_does(paths):
    import pyarrow as pa

    from evergreen.stages.answer_table import Answers
    from evergreen.stages.request_files import COLUMNS, read_requests

    world = World(SimpleNamespace(root=paths.root, paths=paths), datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    model = SimpleNamespace(answer=lambda table: Answers([[{"prediction": "benign"}] * len(table)]))
    world.log(2, "v1.0.0", model)
    (file,) = paths.requests.rglob("*.parquet")
    assert file.parent.name == "2026-01-04"
    (table,) = read_requests(paths.requests)
    assert [*COLUMNS, "asked", "answered"] == table.column_names
    assert table["id"][99].as_py() == "2-99"
    assert pa.compute.max(table["time"]).as_py() - timedelta(days=3, hours=12) == datetime(2026, 1, 1, tzinfo=UTC)
    assert pq.read_schema(file).field("asked").type.get_field_index("diagnosis") == -1
