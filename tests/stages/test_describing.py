"""The page of the data: self-contained, safe, the same again, and it shows what is there of every kind."""

import json
import re
import shutil

import numpy as np
import pytest

from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess

RANDOM = np.random.default_rng(0)
EVIL = "<script>alert(1)</script>"


def prepared(root, uri, task, **wishes) -> Paths:
    paths = Paths(root, "t")
    shutil.rmtree(paths.raw, ignore_errors=True)
    collect.run(CollectConfig(uri=uri), paths)
    preprocess.run(PreprocessConfig(**wishes), paths, task=task)
    return paths


def page(paths) -> str:
    return (paths.described / "report.html").read_text(encoding="utf-8")


def table(root, rows, shift=0.0) -> str:
    lines = []
    for row in range(rows):
        random = np.random.default_rng(row)
        number = f"{random.normal() + shift:.3f}" if row % 25 else EVIL
        lines.append(
            f"{number},{random.choice(['u', 'v', EVIL])},2024-01-{1 + row % 28:02d},{'yes' if row % 3 else 'no'}"
        )
    (root / "t.csv").write_text("\n".join(["x,c,day,y", *lines]) + "\n")
    return str(root / "t.csv")


@pytest.mark.parametrize(
    ("uri", "task", "wishes", "shown"),
    [
        ("sklearn:digits", "classification", {"target": "digit"}, "<img"),
        ("statsmodels:sunspots", "forecasting", {"target": "activity", "time": "year"}, "a window of the series"),
        ("skimage:segmentation", "segmentation", {"target": "mask", "time": "x"}, "actual mask"),
        ("networkx:atlas?label=planar", "classification", {"target": "label"}, "nodes"),
    ],
)
@pytest.mark.slow
def test_every_kind_of_row_has_its_picture(tmp_path, uri, task, wishes, shown):
    text = page(prepared(tmp_path, uri, task, **wishes))
    assert shown in text
    assert not re.search(r"(https?:|<script|nan\b)", text)


def test_a_page_is_safe_and_the_same_again(tmp_path):
    paths = prepared(tmp_path, table(tmp_path, 300), "classification", target="y")
    first = page(paths)
    assert EVIL not in first
    assert "t.csv#" in first
    assert "x: not a number" in first  # what was set aside, why, and where it came from
    assert "What changed" not in first
    prepared(tmp_path, str(tmp_path / "t.csv"), "classification", target="y")
    assert page(paths) == first


def test_what_came_went_and_is_otherwise_is_told_and_stays_told(tmp_path):
    prepared(tmp_path, table(tmp_path, 300), "classification", target="y")
    paths = prepared(tmp_path, table(tmp_path, 300, shift=2), "classification", target="y")
    moves = json.loads((paths.described / "history.json").read_text())["moves"]
    kept = 300 - 12  # of each 25 rows one holds no number and is set aside
    assert sum(one["came"] for one in moves["rows"].values()) == kept
    assert sum(one["went"] for one in moves["rows"].values()) == kept
    assert moves["moved"] == 0
    assert "column 'x': median" in moves["columns"][0]
    told = page(paths)
    assert "What changed since the last version" in told
    prepared(tmp_path, str(tmp_path / "t.csv"), "classification", target="y")
    assert page(paths) == told


def test_rows_that_change_their_split_are_counted(tmp_path):
    prepared(tmp_path, table(tmp_path, 300), "classification", target="y")
    paths = prepared(tmp_path, str(tmp_path / "t.csv"), "classification", target="y", seed=1)
    moves = json.loads((paths.described / "history.json").read_text())["moves"]
    assert moves["moved"] > 50
    assert f"{moves['moved']:,} rows are in another split than before" in page(paths)
