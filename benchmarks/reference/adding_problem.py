"""The adding problem (Hochreiter and Schmidhuber 1997): of a hundred numbers two are marked; what is their sum?

What a network must remember lies up to a hundred steps back. An LSTM and a GRU learn it; a simple recurrent network
does not: it stays near 0.167, the variance of the sum, which saying 1 always reaches.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import learn
from evergreen.data.kinds.series import to_fixed_lists

BARS = {"lstm_mse": ("<=", 0.002), "gru_mse": ("<=", 0.002), "rnn_mse": (">=", 0.1)}
SEEDS = range(1)
ARCHITECTURE = "lstm"
STEPS = 100
ROWS = {"train": 10_000, "validation": 1000, "test": 1000}
OPTIONS = {"epochs": 10, "batch_size": 100, "learning_rate": 1e-2, "bidirectional": False, "dropout": 0.0}


def run(seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    tables = tuple(adding(rows, random) for rows in ROWS.values())
    found = {"always_one_mse": float(((np.array(tables[2]["sum"]) - 1) ** 2).mean())}
    for name in ("lstm", "gru", "rnn"):
        learned = learn(name, "regression", tables, "sum", seed=seed, kinds={"steps": "series"}, **OPTIONS)
        found[f"{name}_mse"] = learned.metrics()["rmse"] ** 2
    return found


def adding(rows: int, random: np.random.Generator) -> pa.Table:
    """`steps` (T, 2): a number between 0 and 1, and whether it is marked; one of each half is. `sum` of the two."""
    numbers, marks = random.uniform(size=(rows, STEPS)), np.zeros((rows, STEPS))
    for half in (0, STEPS // 2):
        marks[np.arange(rows), half + random.integers(STEPS // 2, size=rows)] = 1
    steps = np.stack([numbers, marks], axis=2)
    return pa.table({"steps": to_fixed_lists(steps), "sum": (numbers * marks).sum(axis=1)})
