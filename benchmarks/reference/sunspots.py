"""Next year's sunspots, learned from the years to 1920: squared error as a share of 1535, on 1921–55 and on 1956–79."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.reference.protocol import Tables, learn
from evergreen.data.prepare.windows import make_windows

BARS = {"mse_1921_1955": ("<=", 0.100), "mse_1956_1979": ("<=", 0.33)}
SEEDS = range(5)
ARCHITECTURE = "gru"
VARIANCE = 1535.0  # by which the literature divides (Weigend et al. 1990)
SPANS = {"1921_1955": (1921, 1955), "1956_1979": (1956, 1979)}
# Chosen by three stretches of forty years before 1921, each foretold from the years before it: 0.083 as their mean,
# where nine linear lags have 0.112 and a perceptron 0.124. Deeper and wider ones reach 0.078 there, well within a
# standard error, so the simpler is taken. Nothing in those years is as high as the peak of 1957.
WINDOW, NETWORKS = 12, 3  # years; networks, whose mean is said
OPTIONS: dict[str, Any] = {"bidirectional": False, "keep": "last"}
SEEN = (
    "Test scores of one such network had been seen, and of three deeper and wider ones together: 0.124 and 0.510."
    " The second bar hangs on the peak of 1957, higher than all that was learned from: cells that saturate say less"
    " than nine linear lags there, and no stretch before 1921 shows it."
)


def run(seed: int) -> dict[str, float]:
    parts = tables(1921, 1979)
    said = np.mean([foretold(parts, NETWORKS * seed + number) for number in range(NETWORKS)], axis=0)
    history, came = (np.array(parts[2][column].to_pylist()) for column in ("history", "activity"))
    ways = {"mse": said, "last_value": history[:, -1], "ar9": autoregression(parts)}
    years, found = np.arange(1921, 1980), {}
    for span, (first, last) in SPANS.items():
        within = (years >= first) & (years <= last)
        error = {way: np.square(y - came[:, 0])[within].mean() / VARIANCE for way, y in ways.items()}
        found |= {f"{way}_{span}": float(value) for way, value in error.items()}
    return found


def foretold(parts: Tables, seed: int) -> np.ndarray:
    """(N,) what a network says of the test years."""
    kinds = {"history": "series"}
    learned = learn(ARCHITECTURE, "forecasting", parts, "activity", seed=seed, kinds=kinds, transform="sqrt", **OPTIONS)
    network = learned.network
    said: np.ndarray = network.task.units(network.compute_outputs(learned.test))[:, 0].numpy()  # type: ignore[operator]
    return said


def tables(first: int, last: int) -> Tables:
    """The years to 1920 to learn from; those from `first` to `last` to test. Nothing is chosen by the second table."""
    from statsmodels.datasets import sunspots

    data = sunspots.load_pandas().data
    raw = pa.table({"year": data["YEAR"].to_numpy(), "activity": data["SUNACTIVITY"].to_numpy()})
    examples = make_windows(raw, "year", "activity", WINDOW, 1)
    years = examples["_time"].to_numpy()

    def part(first: int, last: int) -> pa.Table:
        return examples.filter(pa.array((years >= first) & (years <= last))).select(["history", "activity"])

    return part(0, 1920), part(1901, 1920), part(first, last)


def autoregression(parts: Tables, order: int = 9) -> np.ndarray:
    """What least squares on the last nine years say of the test years."""

    def lags(part: pa.Table) -> np.ndarray:
        return np.c_[np.ones(len(part)), np.array(part["history"].to_pylist())[:, -order:]]

    train, _, test = parts
    weights = np.linalg.lstsq(lags(train), np.array(train["activity"].to_pylist())[:, 0], rcond=None)[0]
    return lags(test) @ weights
