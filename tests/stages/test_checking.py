"""What preprocess finds in its own rows: nothing in honest data, leaks by name and origin, and it stops if told to."""

import json

import numpy as np
import pytest

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.core.progress import format_summary
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess

RANDOM = np.random.default_rng(0)
ROWS = 400


def found(root, uri, *, task="classification", **wishes):
    paths = Paths(root, "t")
    collect.run(CollectConfig(uri=uri), paths)
    preprocess.run(PreprocessConfig(**wishes), paths, task=task)
    return json.loads((paths.ready / "summary.json").read_text())["leaks"]


def table(root, *, drifts=0.0, twins=False, leak=False):
    x = RANDOM.normal(size=(ROWS, 6))
    x[:, 0] += np.arange(ROWS) * drifts
    if twins:
        x[1::2] = x[::2] + 1e-5
    y = np.where(x[:, 1] + RANDOM.normal(size=ROWS) > 0, "yes", "no")
    lines = [
        ",".join([f"k{i}", str(i), *map(str, row), word, word if leak else "-"])
        for i, (row, word) in enumerate(zip(x, y, strict=True))
    ]
    (root / "t.csv").write_text("\n".join(["name,day,a,b,c,d,e,f,y,says", *lines]) + "\n")
    return "t.csv"


@pytest.mark.parametrize(
    ("uri", "task", "wishes"),
    [
        ("sklearn:breast_cancer", "classification", {"target": "diagnosis"}),
        ("sklearn:wine", "classification", {"target": "cultivar"}),
        ("sklearn:diabetes", "regression", {"target": "progression"}),
        ("sklearn:digits", "classification", {"target": "digit"}),
    ],
)
def test_honest_data_raises_no_alarm(tmp_path, uri, task, wishes):
    assert found(tmp_path, uri, task=task, **wishes) == []


def test_twins_are_named_with_their_origins(tmp_path):
    leaks = found(tmp_path, table(tmp_path, twins=True), target="y", id_columns=["name"], drop_columns=["day", "says"])
    assert {leak["what"] for leak in leaks if leak["grave"]} == {"twins"}
    for mine, theirs in leaks[0]["rows"]:
        first, second = sorted(int(origin.split("#")[1]) for origin in (mine, theirs))
        assert second == first + 1


@pytest.mark.slow
def test_a_column_that_tells_stops_the_run_and_leaves_what_was_there(tmp_path):
    wishes = {"target": "y", "id_columns": ["name"], "drop_columns": ["day"]}
    assert [leak["columns"] for leak in found(tmp_path, table(tmp_path, leak=True), **wishes)] == [["says"]]
    told = preprocess.run(PreprocessConfig(**wishes), Paths(tmp_path, "t"), task="classification")
    assert "beware column 'says' alone predicts 'y'" in format_summary(told)
    before = (tmp_path / "data/store/t/ready/summary.json").read_bytes()
    with pytest.raises(PipelineError, match="'says' alone predicts 'y'"):
        found(tmp_path, "t.csv", **wishes, leakage_checks="stop")
    assert (tmp_path / "data/store/t/ready/summary.json").read_bytes() == before
    assert found(tmp_path, "t.csv", **wishes, leakage_checks="off") is None


def test_drift_in_time_is_told_calmly_with_the_column_that_moves(tmp_path):
    wishes = {"target": "y", "time": "day", "drop_columns": ["says", "name"], "leakage_checks": "stop"}
    leaks = found(tmp_path, table(tmp_path, drifts=0.02), **wishes)
    assert [(leak["what"], leak["grave"], leak["columns"][0]) for leak in leaks] == [("drift", False, "a")]
