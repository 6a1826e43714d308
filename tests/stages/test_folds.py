"""Folds: every row is scored once, classes are spread, and the test rows are not even there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from data.ready import read
from stages import select
from stages.artifacts import Paths
from stages.settings import PipelineError
from stages.trials.folds import places
from stages.trials.lane import Lane
from stages.trials.trial import Score, Trial


def test_every_row_is_scored_in_one_fold_and_no_test_row_in_any(candidates, tmp_path):
    ready = shutil.copytree(Paths(candidates, "breast_cancer").ready, tmp_path / "ready")
    shutil.rmtree(ready / "test")
    scored, learned = [], []
    for number in range(4):
        trial = Trial(ready, f"{tmp_path}", "classification", "linear", {}, fold=(number, 4))
        trial.advance(1, 60.0)
        scored.append(trial.validation["number"])
        learned.append(trial.loop.train.rows)
        assert len(trial.per_row()) == len(scored[-1])
    rows = sum(len(read(ready, split)) for split in ("train", "validation"))
    assert sum(map(len, scored)) == rows
    assert len(np.unique(np.concatenate(scored), axis=0)) == rows
    assert [rows - len(fold) for fold in scored] == learned


def test_classes_are_spread_over_the_folds():
    target = np.repeat([0, 1, 2], [50, 20, 5])
    found = places(target, 5)
    for fold in range(5):
        assert np.bincount(target[found == fold]).tolist() == [10, 4, 1]
    np.testing.assert_array_equal(found, places(target, 5))


def test_finalists_are_compared_over_all_folds_together():
    lane = Lane("mlp", 0)
    lane.error = 0.3
    for number, rows in enumerate(([1.0, 0.0], [1.0, 1.0])):
        answer = {"score": Score(sum(rows) / 2, 0.1, 3, 1.0), "error": 0.9, "parameters": 5, "epochs": 3, "rows": rows}
        lane.final_score(answer, (number, 2))
    assert lane.rows == [[1.0, 0.0, 1.0, 1.0]]
    assert (lane.mean, lane.folds, lane.error) == (0.75, 2, 0.3)


def test_rows_in_time_are_not_dealt_out(candidates):
    with pytest.raises(PipelineError, match="time"):
        select.run(select.Params(folds=5), Paths(candidates, "sunspots"), task="forecasting")
    with pytest.raises(PipelineError, match="folds is 1"):
        select.Params(folds=1)
