"""Folds: every row is scored once, each fold is like the others, and the test rows are not even there."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data import row_ids
from evergreen.data.prepared import read, write
from evergreen.data.spec import FeatureSpec
from evergreen.stages.select import stage as select
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.folds import default_folds, fold_ids, fold_of, split_fold
from evergreen.stages.trials.trial import Score, Trial


def ids(names) -> np.ndarray:
    return row_ids.hash_rows([pa.array(list(names))], len(names))


def test_every_row_is_scored_in_one_fold_and_no_test_row_in_any(candidates, tmp_path):
    ready = shutil.copytree(Paths(candidates, "breast_cancer").ready, tmp_path / "ready")
    shutil.rmtree(ready / "test")
    scored, learned = [], []
    for number in range(4):
        trial = Trial(ready, f"{tmp_path}", "classification", "linear", {}, fold=(number, 4))
        trial.advance(1, 60.0)
        scored.append(trial.loop.validation["number"].numpy())
        learned.append(trial.loop.train.rows)
        assert len(trial.row_scores()) == len(scored[-1])
    rows = sum(len(read(ready, split)) for split in ("train", "validation"))
    assert sum(map(len, scored)) == rows
    assert len(np.unique(np.concatenate(scored), axis=0)) == rows
    assert [rows - len(fold) for fold in scored] == learned


def test_folds_are_of_one_size_hold_each_class_alike_and_do_not_depend_on_the_order_of_rows():
    names, classes = [f"row {number}" for number in range(1003)], np.arange(1003) % 17 == 0
    found = fold_of(ids(names), 5, classes)
    for rows in (np.ones(1003, bool), classes):
        counts = np.bincount(found[rows], minlength=5)
        assert counts.max() - counts.min() <= 1
    order = np.random.default_rng(0).permutation(1003)
    assert (fold_of(ids([names[row] for row in order]), 5, classes[order]) == found[order]).all()
    twice = fold_of(ids([*names, *names]), 5)
    assert (twice[:1003] == twice[1003:]).all()


@pytest.mark.parametrize(
    ("rows", "time", "task", "folds"),
    [
        (2000, None, "classification", 5),
        (2001, None, "classification", 0),
        (100, "day", "regression", 0),
        (100, None, "anomaly", 0),
    ],
)
def test_few_rows_in_no_order_of_time_get_folds(rows, time, task, folds, tmp_path):
    sizes = {"train": rows, "validation": 1000}
    for split, size in sizes.items():
        write(pa.table({"_id": row_ids.to_arrow(ids([f"{split} {row}" for row in range(size)]))}), tmp_path / split)
    spec = FeatureSpec(task, {}, None, "y", time, {**sizes, "test": 9000})
    assert default_folds(spec, tmp_path) == folds


def test_groups_too_few_to_part_get_no_folds(tmp_path):
    for split, groups in (("train", ["ann", "ben"] * 20), ("validation", ["cy", "di"] * 5)):
        rows = row_ids.to_arrow(ids([f"{split} {row}" for row in range(len(groups))]))
        write(pa.table({"_id": rows, "_group": groups}), tmp_path / split)
    spec = FeatureSpec("classification", {}, None, "y", None, {"train": 40, "validation": 10})
    assert default_folds(spec, tmp_path) == 0


def test_rows_of_a_group_share_a_fold(tmp_path):
    for split, groups in (("train", ["ann", "ben", "ann"]), ("validation", ["ben", "cy"])):
        rows = row_ids.to_arrow(ids([f"{split} {i}" for i in range(len(groups))]))
        write(pa.table({"_id": rows, "_group": groups}), tmp_path / split)
    ann, ben, ann_too, ben_too, cy = map(bytes, fold_ids(tmp_path, {"train": 3, "validation": 2}))
    assert (ann, ben) == (ann_too, ben_too)
    assert len({ann, ben, cy}) == 3


def test_folds_that_hold_no_row_are_an_error():
    rows = {"target": np.arange(3)}
    six = ids("abcdef")
    with pytest.raises(PipelineError, match="are too few for 9 folds"):
        split_fold(rows, rows, six, (8, 9))


def test_finalists_are_compared_over_all_folds_together():
    lane = ContenderState("mlp", 0)
    lane.error = 0.3
    for number, rows in enumerate(([1.0, 0.0], [1.0, 1.0])):
        answer = {"score": Score(sum(rows) / 2, 0.1, 3, 1.0), "error": 0.9, "parameters": 5, "epochs": 3, "rows": rows}
        lane.add_final_score(answer, (number, 2))
    assert lane.rows == [[1.0, 0.0, 1.0, 1.0]]
    assert (lane.mean, lane.folds, lane.error) == (0.75, 2, 0.3)


def test_rows_in_time_are_not_dealt_out(candidates):
    with pytest.raises(PipelineError, match="time"):
        select.run(SelectConfig(folds=5), Paths(candidates, "sunspots"), task="forecasting")
    with pytest.raises(PipelineError, match=r"folds is not valid \(got 1\)"):
        build(SelectConfig, {"folds": 1}, "select")
