"""Folds: every row is scored once, each fold is like the others, and the test rows are not even there."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data import row_ids
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import read, write
from evergreen.data.spec import FeatureSpec
from evergreen.models.architectures.linear import Linear
from evergreen.models.training.config import TrainingConfig
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.select import stage as select
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.trials.contender import ContenderState
from evergreen.stages.trials.folds import default_folds, fold_ids, fold_of, split_fold
from evergreen.stages.trials.out_of_fold import FoldPlan, build_fold, build_network, kept_epoch, load, train_fold


def ids(names) -> np.ndarray:
    return row_ids.hash_rows([pa.array(list(names))], len(names))


def test_every_row_is_scored_in_one_fold_and_no_test_row_in_any(candidates, tmp_path):
    ready = shutil.copytree(Paths(candidates, "breast_cancer").ready, tmp_path / "ready")
    shutil.rmtree(ready / "test")
    scored, learned = [], []
    for number in range(4):
        loop = build_fold(plan(ready, folds=4), number)
        scored.append(loop.validation["number"].numpy())
        learned.append(loop.train.rows)
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
    ("rows", "kind", "time", "task", "folds"),
    [
        (2000, "image", None, "classification", 5),
        (2001, "image", None, "classification", 0),
        (9000, "number", None, "classification", 5),
        (9001, "number", None, "classification", 0),
        (100, "number", "day", "regression", 0),
        (100, "number", None, "anomaly", 0),
    ],
)
def test_few_rows_in_no_order_of_time_get_folds(rows, kind, time, task, folds, tmp_path):
    sizes = {"train": rows, "validation": 1000}
    for split, size in sizes.items():
        write(pa.table({"_id": row_ids.to_arrow(ids([f"{split} {row}" for row in range(size)]))}), tmp_path / split)
    spec = FeatureSpec(task, {"x": SimpleNamespace(kind=kind)}, None, "y", time, {**sizes, "test": 9000})
    assert default_folds(spec, tmp_path) == folds


@pytest.mark.parametrize(
    ("way", "note"),
    [
        ("split_column", "; no folds by default and no training on validation rows, for a column says which"),
        ("time", "; no folds by default and no training on validation rows, for rows are split by the time in 'how'"),
        ("group", ""),
    ],
)
def test_splits_that_a_person_set_are_not_dealt_anew(way, note, tmp_path):
    values = {"split_column": ["train", "train", "validation", "test"], "time": range(200), "group": range(50)}[way]
    rows = [f"{n * 7 % 50},{'ab'[n % 2]},{values[n % len(values)]}" for n in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,how", *rows]))
    paths = Paths(tmp_path, "t")
    collect.run(CollectConfig(uri="t.csv"), paths)
    preprocess.run(PreprocessConfig(target="y", **{way: "how"}), paths, task="classification")
    choice = select.run(SelectConfig(architectures=["linear"]), paths, task="classification")
    assert choice["why"].partition("accepts these inputs")[2].startswith(note)
    made = plan_run(TrainConfig(), paths, "classification")
    assert (made.refit, made.folds) == ((False, 0) if note else (True, 5))
    if way == "group":
        fold = fold_of(fold_ids(paths.ready, dict.fromkeys(("train", "validation"), 0)), 5)
        who = [name for split in ("train", "validation") for name in read(paths.ready, split)["_group"].to_pylist()]
        assert len({*zip(who, fold, strict=True)}) == len({*who})


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


def plan(ready, *, folds, epochs=3):
    """The folds of the linear model on breast_cancer."""
    recipe = TrainingConfig(**{**Linear.DEFAULTS, "epochs": epochs})
    how = {"augment": False, "balance": False, "bucket": False, "settles_epochs": False, "options": {}}
    facts = {"data_version": "d", "code_version": "c", "ready": str(ready), "folder": str(ready.parent / "runs" / "x")}
    return FoldPlan(
        "classification", "linear", recipe=dataclasses.asdict(recipe), folds=folds, remote={}, **how, **facts
    )


def test_a_fold_is_trained_once_and_its_key_is_of_what_decides_its_answers(candidates, tmp_path):
    ready = shutil.copytree(Paths(candidates, "breast_cancer").ready, tmp_path / "ready")
    made = plan(ready, folds=3)
    assert not train_fold(made, 0, deadline=0.0)
    assert load(made, 1) is None
    assert train_fold(made, 0)
    before = made.fold_file(0).stat().st_mtime_ns
    assert train_fold(dataclasses.replace(made, folder=str(tmp_path / "runs" / "another")), 0)
    assert made.fold_file(0).stat().st_mtime_ns == before
    others = [plan(ready, folds=4), plan(ready, folds=3, epochs=4), dataclasses.replace(made, data_version="e")]
    assert len({made.fold_key, *(other.fold_key for other in others)}) == 4


def test_finalists_are_compared_over_all_folds_together_as_they_will_answer(candidates, tmp_path):
    ready = shutil.copytree(Paths(candidates, "breast_cancer").ready, tmp_path / "ready")
    lane = ContenderState("linear", 0)
    lane.plan, lane.error = plan(ready, folds=3), 0.3
    for number in range(2):
        train_fold(lane.plan, number)
        lane.add_folds({"seconds": 1.0}, number + 1)
    found, task = load(lane.plan, 2), build_network(lane.plan)[0].task
    output, target = found.facts(kept_epoch(lane.plan, found, task))
    cooled = output / task.calibrate_probabilities(output, target)["temperature"]
    assert lane.rows == [task.log_losses(cooled, target).tolist()]
    blocks = zip(cooled.split(found.sizes), target.split(found.sizes), strict=True)
    assert lane.scores == [float(task.log_losses(*block).mean()) for block in blocks]
    assert (lane.folds, lane.error, lane.final) == (2, 0.3, False)
    assert lane.score.epochs == 3  # its penalty's strength is chosen, and not when it ends


def test_rows_in_time_are_not_dealt_out(candidates):
    with pytest.raises(PipelineError, match="time"):
        select.run(SelectConfig(folds=5), Paths(candidates, "sunspots"), task="forecasting")
    with pytest.raises(PipelineError, match=r"folds is not valid \(got 1\)"):
        build(SelectConfig, {"folds": 1}, "select")
