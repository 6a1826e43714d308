"""The digits with 100 labels in all, ten a class: what augmentation is worth, and what images without a label add.

A first network learns from the hundred. It then names the other training images, whose labels nobody reads, and what it
is sure of a second network learns from as well (noisy student: Xie et al. 2020; its noise is augmentation and dropout).
The validation and test images are in no network's training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.reference.protocol import Learned, Tables, digits, learn, pixels

BARS = {"accuracy": (">=", 0.965)}
SEEDS = range(5)
ARCHITECTURE = "cnn"
LABELS = 100
# By the validation rows of two splits: there the first network reaches 0.944, the second 0.961.
SURE, REPEATED = 0.8, 3  # probability from which a name is believed; times that a row with a label counts beside those
CHOSEN: dict[str, Any] = {"keep": "last", "task_options": {"label_smoothing": 0.1}}
FIRST, SECOND = {"epochs": 200, **CHOSEN}, {"epochs": 30, **CHOSEN}


def run(seed: int) -> dict[str, float]:
    tables = train, validation, test = few(seed)
    first, plain = (
        learn(ARCHITECTURE, "classification", tables, "digit", seed=seed, augment=augment, **FIRST)
        for augment in (True, False)
    )
    more = pa.concat_tables([train] * REPEATED + [named(first, digits(seed)[0].select(["image"]))])
    second = learn(ARCHITECTURE, "classification", (more, validation, test), "digit", seed=seed, augment=True, **SECOND)
    found = {"accuracy": second, "labelled_images_alone": first, "without_augmentation": plain}
    return {name: one.metrics()["accuracy"] for name, one in found.items()} | {"svc": svc(tables)}


def few(seed: int) -> Tables:
    """The splits of `digits`, of the training rows a hundred alone."""
    from sklearn.model_selection import train_test_split

    train, validation, test = digits(seed)
    y = train["digit"].to_numpy()
    chosen, _ = train_test_split(np.arange(len(y)), train_size=LABELS, stratify=y, random_state=seed)
    return train.take(chosen), validation, test


def named(learned: Learned, images: pa.Table) -> pa.Table:
    """The images of which the network is sure, and what it takes them for."""
    inputs = {name: torch.as_tensor(rows) for name, rows in learned.spec.encode(images, target=False).items()}
    share, kind = learned.network.compute_outputs(inputs).softmax(1).max(1)
    said = np.array(learned.spec.target.state["values"][0])[kind.numpy()]
    return images.append_column("digit", pa.array(said)).filter(pa.array((share > SURE).numpy()))


def svc(tables: Tables) -> float:
    """A support vector machine on the pixels."""
    from sklearn.svm import SVC

    (x, y), _, (x_test, y_test) = ((pixels(table), table["digit"].to_numpy()) for table in tables)
    return float(SVC(C=10).fit(x, y).score(x_test, y_test))
