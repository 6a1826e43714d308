"""Samples/s of the loop under Ray Train with 1 and with 2 workers against a bare torch loop: same model, data, recipe.

The three are run in turn. Timed is what lies between the end of the first epoch and of the last, validation included;
what Ray Train needs before and after stands apart.
"""

import json
import statistics
import time
from pathlib import Path

import torch

from benchmarks import ray_project, sized
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.models.training.optimizers import build_optimizers
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.train import stage as train
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.trials.trial import split_config_and_options

BATCH, ARCHITECTURE = 64, "cnn"
REPEATS, EPOCHS, WORKERS = sized((5, 12, (1, 2)), (1, 2, (2,)))
CONFIG = TrainConfig(
    epochs=EPOCHS, batch_size=BATCH, ema=0.0, grad_clip_norm=0.0, schedule="constant", train_on_validation=False
)


def bare(paths: Paths, seed: int) -> float:
    """Samples/s of the shortest loop that does the same."""
    torch.set_num_threads(1)  # as a worker has
    spec, rows = FeatureSpec.load(paths.ready), load_encoded_split(paths.ready, "train")
    torch.manual_seed(seed)
    network = build(ARCHITECTURE, spec.task, spec.inputs, spec.target)
    recipe, _ = split_config_and_options(ARCHITECTURE, CONFIG.recipe())
    (optimiser,) = build_optimizers(recipe, network, network.parameters())
    feed = InMemoryBatches(rows, BATCH, seed=seed, shuffle=True, augment=spec.augment)
    validation = {
        name: torch.as_tensor(column) for name, column in load_encoded_split(paths.ready, "validation").items()
    }
    ends = []
    for epoch in range(EPOCHS):
        for batch in feed.epoch(epoch):
            tensors = {name: torch.as_tensor(column) for name, column in batch.items()}
            optimiser.zero_grad(set_to_none=True)
            network.task.loss(network(tensors), tensors["target"]).backward()
            optimiser.step()
        network.task.metrics(network.compute_outputs(validation), validation["target"])
        ends.append(time.perf_counter())
    return feed.rows * (EPOCHS - 1) / (ends[-1] - ends[0])


def under_ray(paths: Paths, seed: int, workers: int) -> tuple[float, float]:
    """Samples/s inside the workers, and the seconds of the whole call that were not training."""
    params = CONFIG.model_copy(update={"workers": workers, "seed": seed})
    start = time.perf_counter()
    train.run(params, paths, task="classification")
    whole = time.perf_counter() - start
    plan = plan_run(params, paths, "classification")
    lines = [json.loads(line) for line in (Path(plan.folder) / "progress.jsonl").read_text().splitlines()]
    ends = [line for line in lines if "train_loss" in line]
    rows = FeatureSpec.load(paths.ready).rows["train"]
    seconds = [line["epoch"] * rows / line["samples_per_second"] for line in ends]
    return rows * (EPOCHS - 1) / (seconds[-1] - seconds[0]), whole - seconds[-1]


def main() -> None:
    with ray_project() as root:
        paths = Paths(root, "digits")
        collect.run(CollectConfig(uri="sklearn:digits"), paths, task="classification")
        preprocess.run(PreprocessConfig(target="digit"), paths, task="classification")
        write_json(paths.select, {"architecture": ARCHITECTURE})
        names = {workers: f"Ray Train, {workers} worker{'s' * (workers > 1)}" for workers in WORKERS}
        rates: dict[str, list[float]] = {name: [] for name in ("bare torch loop", *names.values())}
        apart: dict[str, list[float]] = {name: [] for name in rates}
        for seed in range(REPEATS):
            rates["bare torch loop"].append(bare(paths, seed))
            for workers, name in names.items():
                rate, rest = under_ray(paths, seed, workers)
                rates[name].append(rate)
                apart[name].append(rest)
    print(f"`{ARCHITECTURE}` on digits, batches of {BATCH}, one thread a process, median of {REPEATS}.\n")
    print("| | samples/s | ratio to bare | start and end, s |\n|---|---:|---:|---:|")
    base = statistics.median(rates["bare torch loop"])
    for name, values in rates.items():
        rate = statistics.median(values)
        rest = f"{statistics.median(apart[name]):.1f}" if apart[name] else "0"
        print(f"| {name} | {rate:,.0f} | {rate / base:.2f} | {rest} |")


if __name__ == "__main__":
    main()
