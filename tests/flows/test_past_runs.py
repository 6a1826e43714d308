"""Runs of the past: real stages in this process, on rows up to a moment, judged by the rows that came next."""

import csv
import json
import random
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.tables.policy import without_ray
from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.flows import past_runs
from evergreen.flows.moments import format_moment, list_moments
from evergreen.flows.past_runs import place_at
from evergreen.flows.policies import compare_policies
from evergreen.pages import backfill_page
from evergreen.stages.pipeline import perform, read

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "validation", "test")
YAML = """task: classification
collect: {uri: customers.csv}
preprocess: {target: churned, gap: 0}
select: {architectures: [linear]}
tune: {effort: 0}
train: {epochs: 3}
validate: {bootstrap_samples: 100}
"""


@pytest.mark.parametrize(
    ("span", "moments"),
    [
        (("2025-01", "2025-03", "month"), ["2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01"]),
        (("2024-12-15", "2025-01-31", "month"), ["2024-12-15", "2025-01-15", "2025-02-15"]),
        (("2024-02", "2024-02", "year"), ["2024-02-01", "2025-02-01"]),
        (("2025-01-06", "2025-01-12", "week"), ["2025-01-06", "2025-01-13"]),
        (("2025-01-01", "2025-01-01", "36h"), ["2025-01-01", "2025-01-02T12:00:00.000000"]),
        (("2024-10", "2025-01", "quarter"), ["2024-10-01", "2025-01-01", "2025-04-01"]),
    ],
)
def test_moments_follow_the_calendar(span, moments):
    assert [*map(format_moment, list_moments(*span, is_dated=True))] == moments


def test_moments_of_numbers_are_steps():
    assert [*map(format_moment, list_moments("1950", "1960", "5", is_dated=False))] == ["1950", "1955", "1960", "1965"]


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        (("2025-13", "2025-02", "month"), "--from: '2025-13' is no time of the column"),
        (("2025-03", "2025-02", "month"), "--to: 2025-02 is before 2025-03"),
        (("2025-01", "2025-02", "moon"), "--every: 'moon' is no step; write day, week"),
        (("2025-01", "2025-02", "0s"), "--every: '0s' is no step"),
        (("2000-01", "2025-02", "1h"), "--every: there are more than 1,000 moments"),
    ],
)
def test_a_span_that_is_none_is_one_line(span, problem):
    with pytest.raises(PipelineError, match=re.escape(problem)):
        list_moments(*span, is_dated=True)


def result(moment: str, scores: dict, moved: dict, seconds: float = 10.0, problem: str = "") -> dict:
    facts = {"moment": moment, "until": f"{moment[:-1]}9", "rows": 100, "architecture": "mlp", "core_seconds": seconds}
    return facts | {"metric": "accuracy", "goal": "max", "scores": scores, "moved": moved, "problem": problem}


RESULTS = [
    {"moment": "2024-12-01", "problem": "there are no rows"},
    result("2025-01-01", {"2025-01-01": 0.9}, {"2025-01-01": []}),
    result("2025-02-01", {"2025-01-01": 0.6, "2025-02-01": 0.7}, {"2025-01-01": ["age: far"], "2025-02-01": []}, 20.0),
    result(
        "2025-03-01",
        {"2025-01-01": 0.5, "2025-02-01": 0.6, "2025-03-01": 0.9},
        {"2025-01-01": ["age: far"], "2025-03-01": []},
        30.0,
    ),
]


def test_policies_are_compared_by_score_and_cost():
    compared = compare_policies(RESULTS, "0 4 1 2 *")
    assert [(one["policy"], round(one["score"], 3), one["core_seconds"], one["trainings"]) for one in compared] == [
        ("never", 0.667, 10.0, 1),
        ("each time", 0.833, 60.0, 3),
        ("on drift", 0.8, 40.0, 2),
        ("0 4 1 2 *", 0.733, 30.0, 2),
    ]
    assert compared[2]["versions"] == ["2025-01-01", "2025-01-01", "2025-03-01"]
    assert compare_policies(RESULTS[:1]) == []


def test_the_page_says_which_policy_was_best():
    page = backfill_page.page("churn", RESULTS, compare_policies(RESULTS))
    assert "Best: each time" in page
    assert "age: far" not in page  # of versions that were replaced
    assert "2024-12-01: there are no rows" in page
    assert "Nothing to say yet" in backfill_page.page("churn", RESULTS[:1], [])


@pytest.fixture
def shop(tmp_path: Path, monkeypatch) -> Paths:
    """A project whose rows are of five months; from February on another rule holds."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    assert main.main(["init"]) == 0
    draw, day = random.Random(0), date(2024, 10, 1)
    with (tmp_path / "customers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "age", "calls", "churned"])
        for number in range(750):
            now = day + timedelta(days=number // 5)
            age, calls = draw.randint(18, 80) + 40 * (now >= date(2025, 2, 1)), draw.randint(0, 9)
            leaves = calls > 5 if now < date(2025, 2, 1) else calls < 4
            writer.writerow([now, age, calls, "yes" if leaves else "no"])
    (tmp_path / "pipelines" / "churn.yaml").write_text(YAML)
    pipeline, paths = read("churn", tmp_path), Paths(tmp_path, "churn")
    perform("collect", pipeline, paths)
    return paths


def guide() -> list[list[str]]:
    """The guide's lines, as arguments."""
    text = (ROOT / "docs" / "guides" / "operating.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"test_past_runs.py runs it -->\n```sh\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_it_is_as_if_it_had_run_then(shop, capsys, monkeypatch):
    backfill, simulate = guide()
    assert main.main(backfill) == 2
    assert "no column says when a row was" in capsys.readouterr().err
    timed = [*backfill, "--time", "day", "--json"]
    with without_ray(), monkeypatch.context() as patch:
        patch.setattr(past_runs, "ProcessPoolExecutor", lambda n_workers, mp_context: ThreadPoolExecutor(1))
        assert main.main([*timed, "--parallel", "2"]) == 0
    value = json.loads(capsys.readouterr().out)
    january, february = value["moments"]  # nothing came after that
    assert (january["moment"], january["until"], january["rows"]) == ("2025-01-01", "2025-02-01", 155)
    assert (february["moment"], february["rows"], february["problem"]) == ("2025-02-01", 135, "")
    assert february["scores"].keys() == {"2025-01-01", "2025-02-01"}
    assert january["moved"] == {"2025-01-01": []}
    assert february["moved"]["2025-01-01"][0].startswith("age: ")
    assert "churn: as if it had run then" in Path(value["page"]).read_text()

    kept = shop.home / "backfill" / "churn"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert len(before) == 2
    assert main.main([*simulate, "--time", "day", "--json"]) == 0  # without Ray: nothing is trained
    again = json.loads(capsys.readouterr().out)
    assert again["moments"] == value["moments"]
    assert [one["policy"] for one in again["policies"]] == ["never", "each time", "on drift", "0 4 1 */3 *"]
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")} == before
    assert not [*kept.rglob("raw")]


def test_what_was_known_later_is_not_learned_from(shop, monkeypatch):
    text = (shop.root / "customers.csv").read_text().splitlines()
    late = [f"{line},{'2025-01-15' if n % 2 else '2024-12-31'}" for n, line in enumerate(text[1:])]
    (shop.root / "customers.csv").write_text("\n".join([f"{text[0]},told", *late]) + "\n")
    pipeline, runs = read("churn", shop.root), []
    perform("collect", pipeline, shop)
    monkeypatch.setattr(past_runs, "_finish", lambda run, *_: runs.append(run) or {"key": ""})
    past_runs.backfill(pipeline, shop, ("2025-01", "2025-02", "month"), column="day", known="told")
    january, february = runs
    assert [int(run.row_mask.sum()) for run in runs] == [460 // 2 + 155, 615 + 135]
    assert january.pipeline.preprocess.validate_from < "2025-01-01" == january.pipeline.preprocess.test_from
    assert february.pipeline.preprocess.test_from == "2025-02-01"
    assert february.pipeline.preprocess.drop_columns == ["told"]
    with pytest.raises(PipelineError, match="--known: there is no column 'tol'; did you mean 'told'"):
        past_runs.backfill(pipeline, shop, ("2025-01", "2025-02", "month"), column="day", known="tol")


def test_cores_that_were_held_are_counted(tmp_path):
    own = Paths(tmp_path, "churn")
    seconds = {"select": 3.0, "tune": 4.0, "train": 10.0}
    assert past_runs.count_core_seconds(seconds, own, 2) == 27.0
    own.trials.parent.mkdir(parents=True)
    own.trials.write_text('{"seconds": 20.5}\n{"state": "failed"}\n{"seconds": null}\n')
    assert past_runs.count_core_seconds(seconds, own, 2) == 40.5


def test_what_is_learned_from_was_there_and_its_labels_were_known(shop):
    from evergreen.stages.collect.past_rows import read_moments, write_rows

    times = read_moments(shop, "day")
    start = np.datetime64("2025-01-01", "us")
    past = place_at(read("churn", shop.root), "day", times, start, "7d")
    own = Paths(shop.root, "churn", shop.home / "then")
    write_rows(shop, own, times < np.datetime64("2025-02-01", "us"))
    perform("preprocess", past, own)
    days = {split: pq.read_table(own.ready / split, columns=["_time"])["_time"].to_pylist() for split in SPLITS}
    assert min(map(str, days["test"]))[:10] == "2025-01-01"
    assert max(map(str, days["test"]))[:10] == "2025-01-31"
    assert max(map(str, days["validation"]))[:10] == "2024-12-24"
    assert max(days["train"]) < min(days["validation"])
    assert (len(days["train"]) + len(days["validation"])) > 300
