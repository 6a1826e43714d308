"""Samples/s of training from Parquet parts against training from memory: the same network, rows, recipe and loop.

Epochs of both are run in turn; `python -m benchmarks.feed 300000` takes so many rows. With one thread torch computes on
one core and the rows are read on the other, as under Ray Train; with two, both share the cores.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data import identity
from data.batches import arrays, feed
from data.ready import ROWS as GROUP
from data.spec import Spec, fit
from models.catalogue import build
from models.loop import Loop, Recipe

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
PARTS, NUMBERS, CATEGORIES = 4, 10, 10
BATCH, WINDOW, EPOCHS = 1024, 262_144, 3


def prepare(ready: Path) -> None:
    """Rows of numbers and of categories of 2 to 50 values, as preprocess leaves them."""
    rows = {"train": ROWS, "validation": BATCH, "test": BATCH}
    for split, count in rows.items():
        (ready / split).mkdir()
        for part in range(PARTS):
            table = generated(count // PARTS, 100 * len(split) + part)
            pq.write_table(table, ready / split / f"part-{part:05}.parquet", row_group_size=GROUP, compression="zstd")
    sample = generated(GROUP, 0)
    inputs = {name: name.split("_")[0] for name in sample.column_names if "_" in name[1:]}
    fields, target = fit(sample, inputs, "target", "number")
    Spec("regression", fields, target, "target", None, rows).save(ready)


def generated(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    numbers = {f"number_{n}": random.normal(size=rows) for n in range(NUMBERS)}
    sizes = np.geomspace(2, 50, CATEGORIES).round().astype(int)
    words = {f"category_{n}": random.integers(0, size, rows).astype(str) for n, size in enumerate(sizes)}
    target = sum(numbers.values()) + random.normal(size=rows)
    ids = identity.to_arrow(random.integers(0, 2**64, (rows, 2), np.uint64))
    return pa.table({**numbers, **words, "target": target, "_id": ids})


def main() -> None:
    print(f"`mlp` on {ROWS:,} rows of {NUMBERS} numbers and {CATEGORIES} categories, batches of {BATCH:,}, streamed by")
    print(f"windows of {WINDOW:,} rows; the median of {EPOCHS} epochs.\n")
    print("| threads of torch | from memory, samples/s | streamed, samples/s | ratio |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        prepare(ready := Path(folder))
        spec, validation = Spec.load(ready), arrays(ready, "validation")
        for threads in sorted({1, min(2, os.cpu_count() or 1)}):
            torch.set_num_threads(threads)
            loops = []
            for window in (0, WINDOW):
                torch.manual_seed(0)
                rows = feed(ready, ["train"], BATCH, window=window, seed=0)
                network = build("mlp", spec.task, spec.inputs, spec.target)
                loops.append(Loop(network, rows, validation, Recipe(epochs=EPOCHS + 1, batch_size=BATCH)))
            rates: list[list[float]] = [[], []]
            for epoch in range(EPOCHS + 1):
                for loop, found in zip(loops, rates, strict=True):
                    begun = time.perf_counter()
                    loop.run(epoch + 1)
                    found.append(ROWS / (time.perf_counter() - begun))
            held, streamed = (statistics.median(found[1:]) for found in rates)  # the first epoch warms up
            print(f"| {threads} | {held:,.0f} | {streamed:,.0f} | {streamed / held:.2f} |", flush=True)


if __name__ == "__main__":
    main()
