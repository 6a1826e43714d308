"""Describe a window: what came, how long answers took, what moved, and how good the answers probably were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.errors import UserError
from evergreen.data.arrow import combine_chunks
from evergreen.stages.monitor.column_changes import find_changes
from evergreen.stages.monitor.estimate import CONFIDENCE
from evergreen.stages.monitor.reference import Reference
from evergreen.stages.monitor.request_windows import Window
from evergreen.stages.monitor.row_scores import GOALS, RMSE, estimate_features, loss_of, score_rows, to_arrays

MAX_COLUMNS = 12  # whose distances a window keeps: those that moved farthest
WIDTH = 1.96  # standard errors from an estimate to an end of its interval
FAR = 4.0  # standard errors by which a true score must be worse than the estimate: one window in 30,000 by chance
HORIZONS = (1, 4, 16)  # newest windows that are looked at together for a changed rule
MIN_LABELS = 30  # of a window, from which its true score counts
ASSUMES = (
    "The estimate supposes that what the model sees still means what it meant: without labels nobody can check that "
    "the rule behind the answers has not changed (concept drift)."
)
Json = dict[str, Any]


def describe_window(window: Window, reference: Reference | None, floor: float) -> Json:
    """Return what monitor.json stores of a window; without a reference only what came."""
    times = window.rows["time"]
    latency = np.quantile(window.rows["latency_ms"].to_numpy(), [0.5, 0.95, 0.99]).round(3).tolist()
    facts: Json = {
        "version": window.version,
        "rows": window.rows.num_rows,
        "first": pc.min(times).as_py().isoformat(timespec="seconds"),
        "last": pc.max(times).as_py().isoformat(timespec="seconds"),
        "latency_ms": dict(zip(("p50", "p95", "p99"), latency, strict=True)),
        "spans": {key: list(span) for key, span in window.spans.items()},
        "columns": [],
        "moved": [],
        "estimate": None,
        "truth": {"labels": 0, "sum": 0.0, "squares": 0.0},
    }
    return facts | (_compare(window, reference, floor) if reference else {})


def _compare(window: Window, reference: Reference, floor: float) -> Json:
    asked, answered = (pa.Table.from_struct_array(combine_chunks(window.rows[name])) for name in ("asked", "answered"))
    rows = reference.restore(asked)
    try:
        encoded, unusual = reference.encode(rows)
        groups = find_repeated(list(encoded.values()))
    except UserError:  # a column that the model needs is left out of the log
        encoded, unusual, groups = {}, {}, np.arange(len(rows))
    logged = rows.select([name for name in rows.column_names if name in asked.column_names])
    changes = find_changes(reference, logged, answered, unusual, groups, floor)
    features = estimate_features(to_arrays(answered), encoded, reference.metric) if reference.model else None
    estimate = reference.model.estimate(features, groups) if reference.model and features is not None else None
    return {
        "columns": [change.to_json() for change in changes[:MAX_COLUMNS]],
        "moved": [f"{change.column}: {change.text}" for change in changes if change.matters],
        "estimate": estimate and {name: round(value, 6) for name, value in vars(estimate).items()},
    }


def find_repeated(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return (N,) numbers that are equal where rows of all arrays (N, …) are equal."""
    joined = np.concatenate([np.ascontiguousarray(one).reshape(len(one), -1).view(np.uint8) for one in arrays], axis=1)
    whole = np.ascontiguousarray(joined).view([("", joined.dtype, joined.shape[1])]).ravel()
    return np.unique(whole, return_inverse=True)[1]


def add_truth(window: Json, reference: Reference, answered: pa.Table, labels: pa.Array) -> None:
    """Add the scores of answers whose labels came to those of their window."""
    scores = score_rows(reference.spec, reference.metric, answered, labels)
    if scores is None:
        return
    truth = window["truth"]
    truth["labels"] += len(scores)
    truth["sum"] += float(scores.sum())
    truth["squares"] += float((scores**2).sum())


def summarise(windows: Sequence[Json], metric: str) -> Json:
    """Return what people and programs are told of the newest window: what moved, the estimated and the true score."""
    window = windows[-1]
    truth, n = window["truth"], window["truth"]["labels"]
    summary: Json = {key: window[key] for key in ("version", "first", "last", "moved")}
    summary["n_moved"] = len({one["column"] for one in window["columns"] if one["matters"]})
    summary |= {"drift": max((one["distance"] for one in window["columns"]), default=None), "metric": metric}
    summary |= {"goal": GOALS.get(metric), "confidence": CONFIDENCE, "labels": n, "assumes": ASSUMES if metric else ""}
    estimate, mean = window["estimate"], truth["sum"] / n if n >= MIN_LABELS else None
    summary["estimated"] = estimate and {name: _score(metric, estimate[name]) for name in ("mean", "low", "high")}
    summary["true"] = None if mean is None else _score(metric, mean)
    summary["rule"] = find_rule_change([one for one in windows if one["version"] == window["version"]], metric)
    losses = {"true": mean, "estimated": estimate and estimate["mean"]}
    return summary | {"loss": {side: None if m is None else loss_of(metric, m) for side, m in losses.items()}}


def find_rule_change(windows: Sequence[Json], metric: str) -> str:
    """Say that labels contradict the estimate, which supposes the same rule, or those before; "" for neither.

    `windows` are those of one version, the newest last. It alone is looked at, and some of the newest together: they
    show what is too little for one.
    """
    for n_newest in HORIZONS:
        newest, truth = windows[-n_newest:], _sum_truth(windows[-n_newest:])
        if truth["labels"] < MIN_LABELS:
            continue
        mean, error = _mean(truth)
        others, before = [], _sum_truth(windows[:-n_newest])
        if estimates := [one["estimate"] for one in newest if one["estimate"]]:
            middle, low, high = (sum(one[end] for one in estimates) / len(estimates) for end in ("mean", "low", "high"))
            others.append(("{} was estimated", middle, (high - low) / (2 * WIDTH)))
        if before["labels"] >= MIN_LABELS:
            others.append((f"it was {{}} by {before['labels']:,} before", *_mean(before)))
        for words, other, its_error in others:
            worse = (mean - other) * (1 if metric == RMSE else -1)
            if worse > FAR * (error**2 + its_error**2) ** 0.5:
                true, known = (f"{_score(metric, value):.3g}" for value in (mean, other))
                drift = "the rule may have changed (concept drift)"
                return f"{metric} is {true} by {truth['labels']:,} labels where {words.format(known)}: {drift}"
    return ""


def _sum_truth(windows: Sequence[Json]) -> Json:
    return {name: sum(one["truth"][name] for one in windows) for name in ("labels", "sum", "squares")}


def _mean(truth: Json) -> tuple[float, float]:
    """Return the mean of row scores and its standard error, as if one row more had been otherwise."""
    n, mean = truth["labels"], truth["sum"] / truth["labels"]
    return mean, ((max(truth["squares"] / n - mean**2, 0.0) + max(truth["squares"], 1.0) / n**2) / n) ** 0.5


def _score(metric: str, mean: float) -> float:
    return loss_of(metric, mean) if metric == RMSE else mean
