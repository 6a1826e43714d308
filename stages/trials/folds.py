"""Cross-validation where rows are few: the training and validation rows together, each scored once by a network that
has not seen it (Stone 1974). Test rows are in no fold: they are not even read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
Fold = tuple[int, int]  # which one, of how many


def divided(train: Mapping[str, Any], validation: Mapping[str, Any], fold: Fold) -> tuple[Arrays, Arrays]:
    """The rows to learn from and those to score by in one fold. Classes are spread evenly over the folds."""
    number, count = fold
    whole = {name: np.concatenate([column, validation[name]]) for name, column in train.items()}
    held = places(whole["target"], count) == number
    learned, scored = ({name: column[rows] for name, column in whole.items()} for rows in (~held, held))
    return learned, scored


def places(target: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """(N,) the fold of each row, a function of the targets alone: the rows are dealt out class by class."""
    mixed = np.random.default_rng(count).permutation(len(target))
    classes = target[mixed] if target.ndim == 1 and target.dtype.kind == "i" else np.zeros(len(target), np.int64)
    dealt = mixed[np.argsort(classes, kind="stable")]
    found = np.empty(len(target), np.int64)
    found[dealt] = np.arange(len(target)) % count
    return found
