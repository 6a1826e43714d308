"""Samples/s of training from Parquet parts against training from memory: the same network, rows, recipe and loop.

Epochs of both are run in turn; `python -m benchmarks.feed 300000` takes so many rows. With one thread torch computes on
one core and the rows are read on the other, as under Ray Train; with two, both share the cores. Then what it brings
that rows of about one length come together.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from benchmarks import sized
from evergreen.core.paths import Paths
from evergreen.data import row_ids
from evergreen.data.feed.batches import load_encoded_split, training_batches
from evergreen.data.fitting import fit
from evergreen.data.parquet import RowGroupWriter
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import ROWS as GROUP
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build, find_architecture
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else sized(1_000_000, 8_192)
PARTS, NUMBERS, CATEGORIES = 4, 10, 10
BATCH, WINDOW, EPOCHS = sized((1024, 262_144, 5), (1024, 4_096, 1))
REPEATS, LONGEST = sized((3, 4), (1, 1))  # of batches by length: seeds, and epochs of each
NETWORKS = sized(("gru", "encoder"), ("gru",))  # that take batches by length


def prepare(ready: Path) -> None:
    """Rows of numbers and of categories of 2 to 50 values, as preprocess leaves them."""
    rows = {"train": ROWS, "validation": BATCH, "test": BATCH}
    for split, count in rows.items():
        (ready / split).mkdir()
        for part in range(PARTS):
            writer = RowGroupWriter(ready / split / f"part-{part:05}.parquet")
            table = generated(count // PARTS, 100 * len(split) + part)
            for first in range(0, len(table), GROUP):
                writer.add(table.slice(first, GROUP))
            writer.close()
    sample = generated(GROUP, 0)
    inputs = {name: name.split("_")[0] for name in sample.column_names if "_" in name[1:]}
    fields, target = fit(sample, inputs, "target", "number")
    FeatureSpec("regression", fields, target, "target", None, rows).save(ready)


def generated(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    numbers = {f"number_{n}": random.normal(size=rows) for n in range(NUMBERS)}
    sizes = np.geomspace(2, 50, CATEGORIES).round().astype(int)
    words = {f"category_{n}": random.integers(0, size, rows).astype(str) for n, size in enumerate(sizes)}
    target = sum(numbers.values()) + random.normal(size=rows)
    ids = row_ids.to_arrow(random.integers(0, 2**64, (rows, 2), np.uint64))
    return pa.table({**numbers, **words, "target": target, "_id": ids})


def streaming(ready: Path) -> None:
    print(f"`mlp` on {ROWS:,} rows of {NUMBERS} numbers and {CATEGORIES} categories, batches of {BATCH:,}, streamed by")
    print(f"windows of {WINDOW:,} rows; the median of {EPOCHS} epochs.\n")
    print("| threads of torch | from memory, samples/s | streamed, samples/s | ratio |\n|---:|---:|---:|---:|")
    prepare(ready)
    spec, validation = FeatureSpec.load(ready), load_encoded_split(ready, "validation")
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        torch.set_num_threads(threads)
        loops = []
        for window in (0, WINDOW):
            torch.manual_seed(0)
            rows = training_batches(ready, ["train"], BATCH, window=window, seed=0)
            network = build("mlp", spec.task, spec.inputs, spec.target)
            loops.append(Trainer(network, rows, validation, TrainingConfig(epochs=EPOCHS + 1, batch_size=BATCH)))
        rates: list[list[float]] = [[], []]
        for epoch in range(EPOCHS + 1):
            for loop, found in zip(loops, rates, strict=True):
                found.append(ROWS / timed(loop, epoch + 1))
        held, streamed = (statistics.median(found[1:]) for found in rates)  # the first epoch warms up
        print(f"| {threads} | {held:,.0f} | {streamed:,.0f} | {streamed / held:.2f} |", flush=True)


def bucketing(root: Path) -> None:
    """Batches of rows of one length against batches of any, on a shipped pipeline."""
    paths = Paths(root, "python_names")
    collect.run(CollectConfig(uri="python:tokens"), paths, task="tagging")
    preprocess.run(PreprocessConfig(target="tags", kinds={"words": "text"}), paths, task="tagging")
    spec, validation = FeatureSpec.load(paths.ready), load_encoded_split(paths.ready, "validation")
    torch.set_num_threads(1)
    times = f"the median of {REPEATS} times {LONGEST} epochs"
    print(f"\n`bucket` on python_names: lines of 1 to 40 words, one thread, {times}.\n")
    print("| | as they come, s | by length, s | times as fast | F1 | F1 by length |\n|---|---:|---:|---:|---:|---:|")
    for name in NETWORKS:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        scores: dict[bool, list[float]] = {False: [], True: []}
        for seed in range(REPEATS):
            for bucket in seconds:
                torch.manual_seed(seed)
                recipe = TrainingConfig(**{**find_architecture(name).DEFAULTS, "epochs": LONGEST, "seed": seed})
                rows = training_batches(paths.ready, ["train"], recipe.batch_size, window=0, seed=seed, bucket=bucket)
                loop = Trainer(build(name, spec.task, spec.inputs, spec.target), rows, validation, recipe)
                seconds[bucket].append(timed(loop, LONGEST))
                scores[bucket].append(loop.history[-1]["f1"])
        (plain, short), (f1, other) = ([statistics.median(one) for one in held.values()] for held in (seconds, scores))
        print(f"| `{name}` | {plain:.1f} | {short:.1f} | {plain / short:.1f} | {f1:.3f} | {other:.3f} |", flush=True)


def timed(loop: Trainer, epochs: int) -> float:
    """Seconds of training on to so many epochs."""
    begun = time.perf_counter()
    loop.run(epochs)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (ready := Path(folder) / "ready").mkdir()
        streaming(ready)
        bucketing(Path(folder))


if __name__ == "__main__":
    main()
