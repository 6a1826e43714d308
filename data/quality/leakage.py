"""Find what a model must not see: columns that alone predict the target, or that will be missing when it is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evergreen.data import kinds
from evergreen.data.arrow import decode_array, to_numpy, to_strings
from evergreen.data.prepare.times import read_times

PULL = 0.1  # rows' worth by which the mean of a bin is drawn to that of all
MIN_ROWS = 20  # rows behind every statement
ALONE = 0.995  # AUC, or R² of ranks, of one column; the best of breast_cancer's reaches 0.983
ONE_CLASS = 0.99  # share of the rows with, or without, a value that are of one class
CHANCE = 1e-6  # of such rows being of one class though the value said nothing
GONE, WAS_THERE = 0.95, 0.5  # share of the latest rows that lack a value, of the earlier ones that had it
LATER = 0.05  # share of rows whose column names a later time than the row's own
Array = np.ndarray


@dataclass(frozen=True)
class Leak:
    """Describe an issue in words. A `severe` one makes the scores on this data misleading."""

    what: str  # "twins", "alone", "absent" or "drift"
    text: str
    severe: bool = True
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)  # origins of rows that belong together

    def to_json(self) -> dict[str, Any]:
        """Return what summary.json stores."""
        return {"what": self.what, "text": self.text, "grave": self.severe, "columns": self.columns, "rows": self.rows}


def target_predicting_columns(
    train: pa.Table, held_out: pa.Table, inputs: Mapping[str, str], target: str, kind: str
) -> Iterator[Leak]:
    """Yield a leak for each input column that alone predicts the target of held-out rows; `kind` is the target's."""
    scores = kinds.find(kind).target_scores(decode_array(train.column(target)), decode_array(held_out.column(target)))
    if scores is None or len(held_out) < MIN_ROWS or len(np.unique(scores[1], axis=0)) < 2:
        return
    for name, input_kind in inputs.items():
        columns = decode_array(train.column(name)), decode_array(held_out.column(name))
        bins = kinds.find(input_kind).assign_bins(*columns) if name != target else None
        if bins is None:
            continue
        score, measure = single_column_score(*bins, *scores)
        if score >= ALONE:
            problem = (
                f"column '{name}' alone predicts '{target}' ({measure} {score:.3f} on {len(held_out):,} held-out rows)"
            )
            hint = f"was it known when the prediction is needed? if not, `drop_columns: [{name}]`"
            yield Leak("alone", f"{problem}: {hint}", columns=[name])


def single_column_score(bins: Array, n_bins: int, train_scores: Array, true_scores: Array) -> tuple[float, str]:
    """Return how well the training means in the bins (N + M,) of a column predict a target, and the measure's name.

    `train_scores` is (N, K), `true_scores` (M, K).
    """
    means = _bin_means(bins[: len(train_scores)], train_scores, n_bins)
    return _score(means[bins[len(train_scores) :]], true_scores)


def _bin_means(bins: Array, learned: Array, count: int) -> Array:
    """Return (bins, K) the mean of `learned` in each bin, drawn a little to that of all rows."""
    mean = learned.mean(axis=0)
    sums = np.stack([np.bincount(bins, column, minlength=count) for column in learned.T], axis=1)
    return np.asarray((sums + PULL * mean) / (np.bincount(bins, minlength=count) + PULL)[:, None])


def _score(predicted: Array, true: Array) -> tuple[float, str]:
    """Return the mean one-against-rest AUC of classes, or the explained variance of ranks, with its name."""
    if true.shape[1] == 1:
        return 1 - float(((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()), "R² of ranks"
    there = [k for k in range(true.shape[1]) if 0 < true[:, k].sum() < len(true)]
    return float(np.mean([_auc(predicted[:, k], true[:, k] > 0) for k in there])), "AUC"


def _auc(predicted: Array, true: Array) -> float:
    """Compute the AUC by Mann and Whitney's statistic (1947); ties count half."""
    _, place, count = np.unique(predicted, return_inverse=True, return_counts=True)
    rank = (count.cumsum() - (count - 1) / 2)[place]
    positive = int(true.sum())
    return float((rank[true].sum() - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


def target_from_missingness(train: pa.Table, inputs: Mapping[str, str], target: str) -> Iterator[Leak]:
    """Yield a leak for each column that is given, or missing, only where the target is of one class."""
    classes = to_strings(decode_array(train.column(target))).dictionary_encode()
    codes, names = to_numpy(classes.indices.fill_null(-1)), classes.dictionary.to_pylist()
    share = np.bincount(codes[codes >= 0], minlength=len(names)) / len(codes)
    for name in inputs:
        lacks = to_numpy(decode_array(train.column(name)).is_null())
        for rows, state in ((~lacks, "given"), (lacks, "missing")):
            if name == target or not MIN_ROWS <= rows.sum() <= len(rows) - MIN_ROWS:
                continue
            counts = np.bincount(codes[rows], minlength=len(names))
            best = int(counts.argmax())
            if counts[best] >= ONE_CLASS * rows.sum() and share[best] ** rows.sum() < CHANCE:
                fact = f"column '{name}' is {state} only where '{target}' is '{names[best]}' ({rows.sum():,} rows)"
                yield Leak(
                    "absent", f"{fact}: is it filled in afterwards? if so, `drop_columns: [{name}]`", columns=[name]
                )
                break


def vanished_columns(train: pa.Table, latest: pa.Table, inputs: Mapping[str, str]) -> Iterator[Leak]:
    """Yield a leak for each column that earlier rows have and the latest lack, or that became constant."""
    for name, kind in inputs.items():
        if len(latest) < MIN_ROWS or not kinds.find(kind).SCALAR:
            continue
        one, two = decode_array(train.column(name)), decode_array(latest.column(name))
        before, now = (side.null_count / max(1, len(side)) for side in (one, two))
        value = _only(two)
        if now >= GONE and before <= WAS_THERE:
            fact = f"is missing in {now:.0%} of the latest {len(two):,} rows, and in {before:.0%} of the training rows"
        elif value is not None and now < WAS_THERE and _share(one, value) ** len(two) < CHANCE:
            fact = f"is '{value}' in all of the latest {len(two):,} rows, and was not in the training rows"
        else:
            continue
        yield Leak("absent", f"column '{name}' {fact}: will it be there when the model is asked?", columns=[name])


def _only(column: pa.Array) -> str | None:
    """Return the one value of a column; None where there are several."""
    values = to_strings(column).drop_null().unique()
    return values[0].as_py() if len(values) == 1 else None


def _share(column: pa.Array, value: str) -> float:
    texts = to_strings(column).drop_null()
    return float(pc.sum(pc.equal(texts, value)).as_py() or 0) / max(1, len(texts))


def future_columns(table: pa.Table, time: str) -> Iterator[Leak]:
    """Yield a leak for each column of times that are later than the row's own."""
    own, _ = read_times(decode_array(table.column("_time")))  # stored as it was written
    for name in table.column_names:
        column = decode_array(table.column(name))
        if name == "_time" or not (pa.types.is_temporal(column.type) and pa.types.is_temporal(own.type)):
            continue
        ahead = _moments(column) > _moments(own)
        if ahead.mean() > LATER:
            fact = f"column '{name}' lies after '{time}' in {ahead.mean():.0%} of {len(table):,} rows"
            yield Leak("absent", f"{fact}: was it known then? if not, `drop_columns: [{name}]`", columns=[name])


def _moments(column: pa.Array) -> Any:
    times = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)))
    return to_numpy(times).astype("datetime64[us]")
