"""Describe a window: what came, how long answers took, what moved, and how good the answers probably were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.core.durations import DAY, HOUR
from evergreen.core.errors import UserError
from evergreen.data.arrow import combine_chunks
from evergreen.stages.monitor.column_changes import find_changes
from evergreen.stages.monitor.estimate import CONFIDENCE
from evergreen.stages.monitor.reference import Reference
from evergreen.stages.monitor.request_windows import Window
from evergreen.stages.monitor.row_scores import GOALS, RMSE, estimate_features, loss_of, score_rows, to_arrays
from evergreen.stages.monitor.slices import MIN_FAR, find_far_rows, find_slices

MAX_COLUMNS = 12  # whose distances a window keeps: those that moved farthest
WIDTH = 1.96  # standard errors from an estimate to an end of its interval
FAR = 4.0  # standard errors by which a true score must be worse than the estimate: one window in 30,000 by chance
HORIZONS = (1, 4, 16)  # newest windows that are looked at together for a changed rule
MIN_LABELS = 30  # of a window, from which its true score counts
ASSUMES = (
    "The estimate supposes that what the model sees still means what it meant: without labels nobody can check that "
    "the rule behind the answers has not changed (concept drift)."
)
NOTHING = {"labels": 0, "sum": 0.0, "squares": 0.0}
Json = dict[str, Any]


def describe_window(window: Window, reference: Reference | None, floor: float, sliced: Sequence[str] = ()) -> Json:
    """Return what monitor.json stores of a window; without a reference only what came.

    `sliced` are the columns by whose values its scores are told apart. Raises PipelineError where one is no input.
    """
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
        "unsure": "",
        "truth": NOTHING.copy(),
        "slices": {},
    }
    return facts | (_compare(window, reference, floor, sliced) if reference else {})


def _compare(window: Window, reference: Reference, floor: float, sliced: Sequence[str]) -> Json:
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

    def estimate(mask: np.ndarray[Any, Any]) -> Json | None:
        if reference.model is None or features is None or not mask.any():
            return None
        found = reference.model.estimate(features[mask], np.unique(groups[mask], return_inverse=True)[1])
        return {name: round(value, 6) for name, value in vars(found).items()}

    slices = find_slices(reference.rows, logged, [*sliced]) if reference.metric else ()
    return {
        "columns": [change.to_json() for change in changes[:MAX_COLUMNS]],
        "moved": [f"{change.column}: {change.text}" for change in changes if change.matters],
        "estimate": (whole := estimate(np.ones(len(groups), bool))),
        "unsure": _doubt(reference.rows, logged) if whole else "",
        "slices": {
            name: {"rows": int(mask.sum()), "estimate": estimate(mask), "truth": NOTHING.copy()}
            for name, mask in slices
        },
    }


def _doubt(before: pa.Table, rows: pa.Table) -> str:
    """Say that the estimate of a window is a guess, for rows far out of what the model was made from; else ""."""
    share, columns = find_far_rows(before, rows)
    if share < MIN_FAR:
        return ""
    named = ", ".join(columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    where = f"in {named}" if named else "in one column or another"
    return f"not to be trusted: {share:.0%} of the rows lie far out of the trained range, {where}"


def find_repeated(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Return (N,) numbers that are equal where rows of all arrays (N, …) are equal."""
    joined = np.concatenate([np.ascontiguousarray(one).reshape(len(one), -1).view(np.uint8) for one in arrays], axis=1)
    whole = np.ascontiguousarray(joined).view([("", joined.dtype, joined.shape[1])]).ravel()
    return np.unique(whole, return_inverse=True)[1]


def add_truth(
    window: Json,
    reference: Reference,
    asked: pa.Table,
    answered: pa.Table,
    labels: pa.Array,
    sliced: Sequence[str] = (),
) -> None:
    """Add the scores of answers whose labels came to those of their window, and of its slices."""
    scores = score_rows(reference.spec, reference.metric, answered, labels)
    if scores is None:
        return
    _add(window["truth"], scores)
    rows = reference.restore(asked)
    logged = rows.select([name for name in rows.column_names if name in asked.column_names])
    for name, mask in find_slices(reference.rows, logged, [*sliced]):
        if name in window.get("slices", {}):
            _add(window["slices"][name]["truth"], scores[mask])


def _add(truth: Json, scores: np.ndarray[Any, Any]) -> None:
    truth["labels"] += len(scores)
    truth["sum"] += float(scores.sum())
    truth["squares"] += float((scores**2).sum())


def summarise(windows: Sequence[Json], metric: str) -> Json:
    """Return what people and programs are told of the newest window: what moved, the estimated and the true score.

    Labels come late: the true score is that of the newest window, of the last few, which has enough of them.
    """
    window = windows[-1]
    own = [one for one in windows if one["version"] == window["version"]]
    summary: Json = {key: window[key] for key in ("version", "first", "last", "moved")}
    summary["n_moved"] = len({one["column"] for one in window["columns"] if one["matters"]})
    summary |= {"drift": max((one["distance"] for one in window["columns"]), default=None), "metric": metric}
    summary |= {"goal": GOALS.get(metric), "confidence": CONFIDENCE, "assumes": ASSUMES if metric else ""}
    summary |= _scores(own, metric) | {"unsure": window.get("unsure", "")}
    summary["rows_a_day"] = _count_rows_a_day(own[-HORIZONS[-1] :])
    summary["rule"] = find_rule_change(own, metric)
    labelled, estimate = _find_labelled(own), window["estimate"]
    losses = {"true": labelled and _true_mean(labelled), "estimated": estimate and estimate["mean"]}
    summary["loss"] = {side: None if m is None else loss_of(metric, m) for side, m in losses.items()}
    slices: dict[str, Json] = {}
    for name, newest in window.get("slices", {}).items():
        parts = [one["slices"][name] | {"last": one["last"]} for one in own if name in one.get("slices", {})]
        moved = find_rule_change(parts, metric) or find_fall(parts, metric)
        slices[name] = _scores(parts, metric) | {"rows": newest["rows"], "moved": moved}
    summary["slices"] = slices
    summary["slices_moved"] = [f"where {name}: {facts['moved']}" for name, facts in slices.items() if facts["moved"]]
    return summary


def _count_rows_a_day(windows: Sequence[Json]) -> int | None:
    """Return about how many rows come a day, by the last few windows; None where they span less than an hour."""
    first, last = (datetime.fromisoformat(text) for text in (windows[0]["first"], windows[-1]["last"]))
    seconds = (last - first).total_seconds()
    return round(sum(one["rows"] for one in windows) * DAY / seconds) if seconds >= HOUR else None


def _scores(parts: Sequence[Json], metric: str) -> Json:
    """Return the scores of windows of one version, or of a slice in each: the newest estimate, and the newest truth."""
    estimate, labelled = parts[-1]["estimate"], _find_labelled(parts)
    return {
        "labels": (labelled or parts[-1])["truth"]["labels"],
        "estimated": estimate and {name: _score(metric, estimate[name]) for name in ("mean", "low", "high")},
        "true": labelled and _score(metric, _true_mean(labelled)),
        "true_until": labelled and labelled["last"],
    }


def _find_labelled(parts: Sequence[Json]) -> Json | None:
    """Return the newest of the last few windows, or slices, that has enough labels."""
    return next((one for one in reversed(parts[-HORIZONS[-1] :]) if one["truth"]["labels"] >= MIN_LABELS), None)


def _true_mean(part: Mapping[str, Any]) -> float:
    return float(part["truth"]["sum"] / part["truth"]["labels"])


def find_fall(windows: Sequence[Json], metric: str) -> str:
    """Say that the newest estimate is far worse than those before it, of one version, the newest last; else ""."""
    *before, newest = [one["estimate"] for one in windows if one["estimate"]] or [None]
    if newest is None or newest is not windows[-1]["estimate"] or not before:
        return ""
    mean = sum(one["mean"] for one in before) / len(before)
    error = (newest["high"] - newest["low"]) / (2 * WIDTH)
    worse = (newest["mean"] - mean) * (1 if metric == RMSE else -1)
    if worse <= FAR * error:
        return ""
    return f"{metric} is estimated {_score(metric, newest['mean']):.3g}, {_score(metric, mean):.3g} before"


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
