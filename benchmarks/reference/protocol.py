"""What the cases share: the splits of scikit-learn's digits, and learning by the one loop from given rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evergreen.data.feed.batches import InMemoryBatches
from evergreen.data.fitting import fit
from evergreen.data.prepare.infer import kind_names, kind_options
from evergreen.data.spec import FeatureSpec
from evergreen.models.network import Network
from evergreen.models.registry import build, find_task
from evergreen.models.training.trainer import Trainer
from evergreen.stages.trials.trial import split_config_and_options

Tables = tuple[pa.Table, pa.Table, pa.Table]  # train, validation, test
HELD_OUT = 360  # digits to validate, and as many to test


def digits(seed: int) -> Tables:
    """Return 1797 digits as `image` (8, 8) of 0 to 16 and `digit`: 360 to test, 360 to validate, the rest to train."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return tuple(images(found.images[rows], found.target[rows]) for rows in digit_rows(seed))  # type: ignore[return-value]


def digit_rows(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the rows of `digits` in each split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    y = load_digits().target
    rest, test = train_test_split(np.arange(len(y)), test_size=HELD_OUT, stratify=y, random_state=seed)
    train, validation = train_test_split(rest, test_size=HELD_OUT, stratify=y[rest], random_state=seed)
    return train, validation, test


def images(pixels: np.ndarray, labels: np.ndarray, name: str = "digit") -> pa.Table:
    """A table of `image` (N, H, W) or (N, H, W, C) and a label each."""
    return pa.table({"image": column(pixels), name: pa.array(labels)})


def column(values: np.ndarray) -> pa.Array:
    """Arrays of one shape, (N, …), as a column."""
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))


def pixels(table: pa.Table, name: str = "image") -> np.ndarray:
    """The images of a column, flattened: (N, pixels)."""
    found: np.ndarray = table.column(name).combine_chunks().to_numpy_ndarray().reshape(len(table), -1)
    return found


def quarters(name: str, target: str, seed: int, *, by_class: bool) -> Tables:
    """One of scikit-learn's tables: a quarter to test, a fifth of the rest to validate, by class where asked."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    found = getattr(datasets, f"load_{name}")()
    y = found.target
    rows, classes = np.arange(len(y)), y if by_class else None
    rest, test = train_test_split(rows, test_size=0.25, stratify=classes, random_state=seed)
    classes = y[rest] if by_class else None
    train, validation = train_test_split(rest, test_size=0.2, stratify=classes, random_state=seed)
    columns = {str(feature): found.data[:, i] for i, feature in enumerate(found.feature_names)}
    table = pa.table({**columns, target: y})
    return table.take(train), table.take(validation), table.take(test)


@dataclass(frozen=True)
class Learned:
    """A network with the weights that its recipe keeps, and its rows, encoded."""

    network: Network
    spec: FeatureSpec
    loop: Trainer
    train: dict[str, torch.Tensor]
    validation: dict[str, torch.Tensor]
    test: dict[str, torch.Tensor]

    def metrics(self, rows: Mapping[str, torch.Tensor] | None = None) -> dict[str, float]:
        """The task's metrics, by default on the test rows."""
        rows = self.test if rows is None else rows
        return self.network.task.metrics(*self.network.evaluate(rows)[1])


def learn(
    architecture: str,
    task_name: str,
    tables: Tables,
    target: str,
    *,
    seed: int,
    kinds: Mapping[str, Any] | None = None,
    task_options: Mapping[str, Any] | None = None,
    augment: bool = False,
    refit: bool = False,
    transform: str = "",
    **options: Any,
) -> Learned:
    """Train on the first table by the architecture's own recipe; the second chooses the weights to keep.

    `options` change the recipe, or are the architecture's own.
    `kinds` is as under `preprocess` in a pipeline; columns that it leaves out are recognised. With `refit` the
    validation rows are trained on as well, and the last weights are kept: no rows are left to choose by.
    """
    spec = spec_of(tables[0], task_name, target, kinds or {}, transform, task_options or {})
    train, validation, test = ({k: torch.as_tensor(v) for k, v in spec.encode(t, target=True).items()} for t in tables)
    recipe, rest = split_config_and_options(architecture, options)
    recipe = recipe.replace(seed=seed, **({"keep": "last", "patience": 0} if refit else {}))
    torch.manual_seed(seed)
    network = build(architecture, task_name, spec.inputs, spec.target, spec.task_options, **rest)
    seen = {name: torch.cat([rows, validation[name]]) if refit else rows for name, rows in train.items()}
    learned = network.task.trainable_rows(seen["target"])
    arrays = {name: rows[learned].numpy() for name, rows in seen.items()}
    feed = InMemoryBatches(
        arrays, recipe.batch_size, seed=seed, shuffle=True, augment=spec.augment if augment else None
    )
    loop = Trainer(network, feed, validation, recipe)
    loop.run()
    network.load_state_dict(loop.best_state())
    return Learned(network, spec, loop, train, validation, test)


def chosen(
    candidates: Sequence[Mapping[str, Any]], task_name: str, tables: Tables, target: str, *, seed: int, folds: int = 5
) -> dict[str, Any]:
    """Return the candidate, an `architecture` and its options, with the least loss over folds of the first two tables.

    The best of the first candidate's architecture wins where it is within a standard error of that (Breiman et al.
    1984). The test rows have no part in it.
    """
    seen = pa.concat_tables(tables[:2])
    fold = np.random.default_rng(seed).permutation(len(seen)) % folds

    def losses(candidate: Mapping[str, Any]) -> list[float]:
        found = []
        for one in range(folds):
            fit, held = seen.filter(pa.array(fold != one)), seen.filter(pa.array(fold == one))
            options = {"seed": seed, "keep": "last", **candidate}
            learned = learn(task_name=task_name, tables=(fit, held, held), target=target, **options)
            found.append(learned.loop.history[-1]["validation_loss"])
        return found

    scores = [losses(candidate) for candidate in candidates]
    means = [float(np.mean(score)) for score in scores]
    best = int(np.argmin(means))
    anchors = [n for n, one in enumerate(candidates) if one["architecture"] == candidates[0]["architecture"]]
    anchor = min(anchors, key=means.__getitem__)
    near = means[anchor] <= means[best] + float(np.std(scores[best], ddof=1)) / folds**0.5
    return dict(candidates[anchor if near else best])


def spec_of(
    train: pa.Table, task_name: str, target: str, kinds: Mapping[str, Any], transform: str, options: Mapping[str, Any]
) -> FeatureSpec:
    """The spec that preprocess would fit on these training rows."""
    from evergreen.data import kinds as known
    from evergreen.data.arrow import decode_array
    from evergreen.data.prepare.infer import detect_kind, target_kind

    job, named = find_task(task_name), kind_names(kinds)
    wanted = target_kind(train, target, job.TARGETS, kinds)
    inputs = [
        name for name in train.column_names if (name != target or job.TARGET_IS_INPUT) and not name.startswith("_")
    ]
    found = {name: named.get(name) or detect_kind(name, decode_array(train.column(name))) for name in inputs}
    kind_of = {name: kind for name, kind in found.items() if kind}
    checked = {name: known.find(kind).validate(decode_array(train.column(name)))[0] for name, kind in kind_of.items()}
    checked[target] = known.find(wanted).validate(decode_array(train.column(target)))[0]
    fields, answer = fit(pa.table(checked), kind_of, target, wanted, transform, kind_options(kinds))
    return FeatureSpec(task_name, fields, answer, target, None, {"train": len(train)}, dict(options))
