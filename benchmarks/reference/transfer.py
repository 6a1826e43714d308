"""Digits 6 to 9 from ten images each, begun with what was learned of 0 to 5: frozen, it hurts, and that is found."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch

from benchmarks.reference.features_svm import pixel_svm
from benchmarks.reference.protocol import images, learn, spec_of
from evergreen.data.feed.batches import InMemoryBatches
from evergreen.data.spec import FeatureSpec
from evergreen.models.network import Network
from evergreen.models.registry import build
from evergreen.models.training.trainer import Trainer
from evergreen.stages.trials.trial import split_config_and_options
from evergreen.stages.validate.statistics import compare

BARS = {"frozen_found_harmful": (">=", 1.0), "from_scratch": (">=", 0.972), "fine_tuned": (">=", 0.949)}
SEEDS = range(5)
ARCHITECTURE = "cnn"
EACH = 10  # images of a class to learn from, and as many to validate


def run(seed: int) -> dict[str, float]:
    """Measure the accuracy on all other images of 6 to 9, by frozen features and from scratch.

    A paired test says, with 95% confidence, whether the frozen features lose.
    """
    low, (train, validation, test) = _rows(seed)
    source = learn(ARCHITECTURE, "classification", low, "digit", seed=seed).network.architecture
    spec = spec_of(train, "classification", "digit", {}, "", {})
    rows = [spec.encode(table, target=True) for table in (train, validation, test)]

    def right(prepare: Callable[[Network], None], **recipe: float) -> np.ndarray:
        return _right(spec, rows, seed, prepare, **recipe)

    def begin(network: Network) -> None:
        network.architecture.load_state_dict(source.state_dict())

    def frozen(network: Network) -> None:
        begin(network)
        network.architecture.requires_grad_(False)

    scratch, kept = right(lambda network: None), right(frozen)
    found = compare(scratch, kept, confidence=0.95, times=2000, block=1, seed=seed)
    return {
        "frozen_found_harmful": float(found.p < 0.05 and found.difference.value > 0),
        "from_scratch": float(scratch.mean()),
        "frozen_features": float(kept.mean()),
        "fine_tuned": float(right(begin).mean()),
        "fine_tuned_layer_wise": float(right(begin, layer_decay=0.5).mean()),
        "svm_on_pixels": pixel_svm(*rows),
    }


def _rows(seed: int) -> tuple[tuple[pa.Table, ...], tuple[pa.Table, ...]]:
    """0 to 5: a fifth to validate, the rest to learn from. 6 to 9: EACH a class to learn from, EACH to validate."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    low, high = np.flatnonzero(found.target < 6), np.flatnonzero(found.target >= 6)
    learned, held = train_test_split(low, test_size=0.2, stratify=found.target[low], random_state=seed)
    order = np.random.default_rng(seed).permutation(high)
    place = {digit: order[found.target[order] == digit] for digit in range(6, 10)}
    parts = [np.concatenate([rows[begin:end] for rows in place.values()]) for begin, end in _ENDS]
    tables = [images(found.images[rows], found.target[rows]) for rows in (learned, held, held, *parts)]
    return tuple(tables[:3]), tuple(tables[3:])


_ENDS = ((0, EACH), (EACH, 2 * EACH), (2 * EACH, None))


def _right(
    spec: FeatureSpec,
    rows: list[dict[str, np.ndarray]],
    seed: int,
    prepare: Callable[[Network], None],
    **changes: float,
) -> np.ndarray:
    """1 for each test row that is classified rightly, else 0."""
    recipe, _ = split_config_and_options(ARCHITECTURE, {"epochs": 150, "batch_size": 16, **changes})
    torch.manual_seed(seed)
    network = build(ARCHITECTURE, spec.task, spec.inputs, spec.target)
    prepare(network)
    feed = InMemoryBatches(rows[0], recipe.batch_size, seed=seed, shuffle=True, augment=spec.augment)
    loop = Trainer(network, feed, rows[1], dataclasses.replace(recipe, seed=seed))
    loop.run()
    network.load_state_dict(loop.best_state())
    test = {name: torch.as_tensor(column) for name, column in rows[2].items()}
    return network.task.row_scores(network.compute_outputs(test), test["target"]).numpy()
