"""Rows that are not normal never train: they measure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import read
from evergreen.stages.preprocess.stage import run


def test_what_is_not_normal_validates_and_tests_alone(tmp_path):
    paths = Paths(tmp_path, "shop")
    paths.raw.mkdir(parents=True)
    columns = {"x": [float(i % 50) + 1000 * (i % 10 == 0) for i in range(200)], "state": ["ok", "odd"], "_origin": []}
    columns["state"] = ["odd" if i % 10 == 0 else "ok" for i in range(200)]
    columns["_origin"] = [f"table#{i}" for i in range(200)]
    pq.write_table(pa.table(columns), paths.raw / "part-0.parquet")
    run(PreprocessConfig(target="state"), paths, task="anomaly", task_options={"normal": "ok"})
    held = {name: read(paths.ready, name)["state"].to_pylist() for name in SPLITS}
    assert set(held["train"]) == {"ok"}
    assert held["validation"].count("odd") + held["test"].count("odd") == 20
    assert min(held["validation"].count("odd"), held["test"].count("odd")) > 3
    spec = (paths.ready / "spec.json").read_text()
    assert '"odd"' in spec


SPLITS = ("train", "validation", "test")
