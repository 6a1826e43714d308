"""Numbers of up to six digits spelled out in English, of which a quarter was never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import learn

BARS = {"exact_match": (">=", 0.995)}
SEEDS = range(5)
ARCHITECTURE = "seq2seq"
KINDS = {"number": {"kind": "text", "unit": "character"}, "words": {"kind": "text", "unit": "word"}}
TEST, VALIDATION = 2000, 500  # numbers


def run(seed: int) -> dict[str, float]:
    """Exact match and chrF, beside those of the nearest number's words."""
    from evergreen.data.sources import open_source

    rows = pa.Table.from_batches(list(open_source("python:numbers", Path()).read())).select(["number", "words"])
    order = np.random.default_rng(seed).permutation(len(rows))
    test, validation, train = np.split(order, [TEST, TEST + VALIDATION])
    tables = tuple(rows.take(part) for part in (train, validation, test))
    found = learn(ARCHITECTURE, "translation", tables, "words", seed=seed, kinds=KINDS, **OPTIONS)  # type: ignore[arg-type]
    task = found.network.task
    nearest = task.metrics(*task.metric_inputs(task.baseline(found.train, found.test), found.test["target"]))
    return found.metrics() | {f"{name}_of_the_nearest": value for name, value in nearest.items()}


OPTIONS = {"epochs": 8, "learning_rate": 4e-3}
