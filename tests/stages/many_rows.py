"""A table of many rows, collected."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from evergreen.core.paths import Paths
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig


def collected(root: Path, rows: int) -> Paths:
    draw, paths = np.random.default_rng(0), Paths(root, "t")
    columns = {name: draw.normal(size=rows).round(4) for name in "abcd"}
    columns |= {"c": draw.integers(0, 50, rows), "y": np.array(["yes", "no"])[draw.integers(0, 2, rows)]}
    pyarrow.csv.write_csv(pa.table(columns), root / "t.csv")
    collect.run(CollectConfig(uri="t.csv"), paths)
    return paths
