"""Batch rows of similar length, so that little of a batch is padding."""

import numpy as np

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.spec import FeatureSpec

Batch = dict[str, np.ndarray]
FIX = "leave it out: it needs exactly one text or sound column, and a target that is not text"
TOGETHER = 32  # batches whose rows are sorted: the more, the less padding, and the less rows are mixed


class LengthBucketing:
    """Sort the rows of some batches by length, cut and shuffle the batches anew, and trim their padding."""

    def __init__(self, spec: FeatureSpec) -> None:
        kind_of = {name: kinds.kind_of(field) for name, field in spec.inputs.items()}
        names = [name for name, kind in kind_of.items() if kind.HAS_LENGTH or kind.STEPWISE]
        target = kinds.kind_of(spec.target)
        if len(names) != 1 or not kind_of[names[0]].HAS_LENGTH or target.HAS_LENGTH:
            raise DataError("rows have no single length to sort by", place="train.bucket_by_length", fix=FIX)
        self.name, self.along = names[0], [names[0], *(["target"] if target.ALIGNED else [])]

    def lengths(self, rows: Batch) -> np.ndarray:
        """Return (N,) steps of each row up to the last that is not padding, at least one."""
        steps = rows[self.name]
        real = (steps != 0).reshape(*steps.shape[:2], -1).any(2)
        return np.where(real.any(1), real.shape[1] - real[:, ::-1].argmax(1), 1)

    def order(self, lengths: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
        """Return (N,) the new order of the rows of some batches; an incomplete batch stays last."""
        order = np.argsort(lengths, kind="stable")
        n_full = len(order) // size
        mixed = order[: n_full * size].reshape(n_full, size)[random.permutation(n_full)]
        return np.concatenate([mixed.ravel(), order[n_full * size :]])

    def trim_padding(self, batch: Batch, longest: int) -> Batch:
        """Return a batch without the steps after `longest`."""
        return {name: values[:, :longest] if name in self.along else values for name, values in batch.items()}
