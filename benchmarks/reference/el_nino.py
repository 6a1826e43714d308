"""The temperature of the eastern Pacific in the twelve months of a year, from the months before: eleven Januaries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import Tables, learn
from evergreen.data.prepare.windows import make_windows, own_history

BARS = {"mae": ("<=", 0.86)}
SEEDS = range(5)
SEEN = "Test scores had been seen three times before the season was added."
ARCHITECTURE = "mlp"
# Chosen by the decades from 1970 to 1999, each foretold from what was known before it: above all, to see the season.
WINDOW, OPTIONS = 12, {"keep": "last", "refit": True}
HORIZON, ORIGINS = 12, range(2000, 2011)


def run(seed: int) -> dict[str, float]:
    parts = tables(ORIGINS)
    learned = learn(
        ARCHITECTURE, "forecasting", parts, "temperature", seed=seed, kinds={"history": "series"}, **OPTIONS
    )
    before, came = own_history(parts[2])[:, -HORIZON:], np.array(parts[2]["temperature"].to_pylist())
    return {"mae": learned.metrics()["mae"], "seasonal_naive": float(np.abs(before - came).mean())}


def tables(origins: range) -> Tables:
    """What was known before the first origin to learn from, its last ten years to validate; a row for each origin."""
    from statsmodels.datasets import elnino

    data = elnino.load_pandas().data
    months = np.arange(12 * len(data)) / 12 + float(data.iloc[0, 0])
    season = {"sine": np.sin(2 * np.pi * months), "cosine": np.cos(2 * np.pi * months)}
    raw = pa.table({"time": months, "temperature": data.iloc[:, 1:].to_numpy(float).ravel(), **season})
    examples = make_windows(raw, "time", "temperature", WINDOW, HORIZON, covariates=list(season))
    first, last = (examples[name].to_numpy() for name in ("_time", "_until"))

    def part(chosen: np.ndarray) -> pa.Table:
        return examples.filter(pa.array(chosen)).select(["history", "temperature"])

    known, cut = last < origins[0] - 1e-6, origins[0] - 10
    test = np.isclose(first[:, None], np.array(origins)[None]).any(axis=1)
    return part(known & (last < cut - 1e-6)), part(known & (first > cut - 1e-6)), part(test)
