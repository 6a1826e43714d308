"""Train one candidate on prepared rows, a chunk of epochs at a time.

A trial is an architecture with its options and a seed. Select races trials and tune searches among them. Within a race
the learning rate is constant and the best epoch counts, so that chunks compare. The length of a chunk follows from the
rows, since an epoch of a small table is only a handful of steps. A trial `in_one_go` is trained by its full
configuration, as the candidate will be.
"""

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from evergreen.data.feed import batches
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split
from evergreen.data.feed.sampler import weighted_epoch
from evergreen.data.prepared import WEIGHT, columns, hash_sample
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build, build_head, options
from evergreen.models.registry import find_architecture as find
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.models.work import Work, count, count_operations

CHUNK_STEPS = 30  # minimum of optimization steps between two comparisons
ENDLESS = 10**9  # epochs: the caller decides how long a trial trains
BOOTSTRAP_SAMPLES = 100  # bootstrap drawings behind a score's standard error
MAX_RESAMPLED_ROWS = 20_000  # rows
LATENCY_WARM_UP, LATENCY_ANSWERS = 5, 31
MAX_ROWS = (10**9, 200_000)  # most rows that train and that validate: more do not separate architectures better


@dataclass(frozen=True)
class Score:
    """Hold how good a trial is."""

    value: float  # the task's first metric on the validation split, at its best so far
    loss: float  # validation loss at that point: the lower one wins where values are equal
    epochs: int  # whole epochs trained
    seconds: float  # trained, all chunks together

    def better(self, other: Self, direction: str) -> bool:
        """Tell whether it ranks above another score."""
        return self.rank(direction) > other.rank(direction)

    def rank(self, direction: str) -> tuple[float, float]:
        """Return a sort key, higher is better; what is not a number is below everything."""
        if not math.isfinite(self.value):
            return -math.inf, -math.inf
        return (self.value if direction == "max" else -self.value), -self.loss


def split_config_and_options(architecture: str, values: Mapping[str, Any]) -> tuple[TrainingConfig, dict[str, Any]]:
    """Split `values` into a training configuration, on the architecture's defaults, and constructor options.

    Raises ModelError for a name that is neither.
    """
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    kind = find(architecture)
    recipe = TrainingConfig().replace(
        **{**kind.DEFAULTS, **{name: value for name, value in values.items() if name in known}}
    )
    return recipe, {name: value for name, value in values.items() if name not in known}


def search_defaults(architecture: str, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the architecture's own value for each name in its SEARCH_SPACE, or for those of `names` that it knows."""
    kind = find(architecture)
    known = {**options(kind), **dataclasses.asdict(split_config_and_options(architecture, {})[0])}
    wanted = kind.SEARCH_SPACE if names is None else [name for name in names if name in known]
    return {name: known[name] for name in wanted}


def deciding_metric(ready: Path) -> tuple[str, str]:
    """Return the deciding metric of prepared rows, and "max" or "min"; the task's options have a say."""
    spec = FeatureSpec.load(ready)
    return first_metric(build_head(spec.task, spec.target, options=spec.task_options))


def chunk_steps(steps: int) -> int:
    """Return the updates between two comparisons, whole epochs of so many `steps`."""
    return -(-CHUNK_STEPS // steps) * steps


@functools.lru_cache(maxsize=2)
def _rows(ready: Path, _version: str) -> tuple[FeatureSpec, dict[str, Any], dict[str, Any]]:
    """Return the spec and both splits encoded, cached while `_version` stays the same.

    Where the pipeline weights rows, their weights are a column beside the fields.
    """
    spec = FeatureSpec.load(ready)
    arrays = []
    for split, rows in max_rows(spec).items():
        arrays.append(load_encoded_split(ready, split, rows))
        if WEIGHT in columns(ready, split):
            arrays[-1][WEIGHT] = hash_sample(ready, split, rows, [WEIGHT]).column(WEIGHT).to_numpy()
    train, validation = arrays
    return spec, train, validation


def max_rows(spec: FeatureSpec) -> dict[str, int]:
    """Return the rows of the training and the validation split that trials get: as many as fit into memory."""
    splits = ("train", "validation")
    fitting = batches.max_rows_in_memory(spec, splits, batches.MEGABYTES) or max(spec.rows.values())
    return {split: min(fitting, spec.rows[split], bound) for split, bound in zip(splits, MAX_ROWS, strict=True)}


def sampling_note(ready: Path) -> str:
    """Say that a choice was made on a sample of the rows; "" where it was not."""
    spec = FeatureSpec.load(ready)
    n_seen, rows = max_rows(spec)["train"], spec.rows["train"]
    return f"; trials saw a sample of {n_seen:,} of the {rows:,} training rows" if n_seen < rows else ""


class Trial:
    """Hold a network and its trainer; nothing is trained at first.

    `version` is that of the folder `ready`.
    """

    def __init__(
        self,
        ready: Path,
        version: str,
        task: str,
        architecture: str,
        options: Mapping[str, Any],
        seed: int = 0,
        *,
        in_one_go: bool = False,
    ) -> None:
        torch.set_num_threads(1)
        spec, train, validation = _rows(ready, version)
        recipe, rest = split_config_and_options(architecture, options)
        recipe, self.epochs = recipe.replace(seed=seed), recipe.epochs  # those of the full configuration
        if not in_one_go:
            recipe = recipe.replace(epochs=ENDLESS, schedule="constant", patience=0, keep="best")
        torch.manual_seed(seed)
        self.network = build(architecture, task, spec.inputs, spec.target, spec.task_options, **rest)
        train, validation = dict(train), dict(validation)
        weights, _ = train.pop(WEIGHT, None), validation.pop(WEIGHT, None)
        drawn = weighted_epoch(weights, seed) if weights is not None else None
        feed = InMemoryBatches(train, recipe.batch_size, seed=seed, shuffle=True, drawn=drawn)
        self.loop = Trainer(self.network, feed, validation, recipe)
        self.steps = -(-feed.steps() // recipe.accumulate)  # updates in an epoch
        self.chunk = chunk_steps(self.steps)
        self.parameters = sum(one.numel() for one in self.network.parameters() if one.requires_grad)
        self.seconds = self.predict_ms = 0.0  # trained in all; of one validation row: neither decides

    def work(self) -> Work:
        """Count what training and asking it costs, without training it."""
        batch = {name: torch.as_tensor(column) for name, column in next(self.loop.train.epoch(0)).items()}
        n_validation = len(self.loop.validation["target"])
        return count(self.network, batch, steps=self.steps, epochs=self.epochs, n_validation=n_validation)

    def counts(self, measured: Collection[str] = ()) -> dict[str, float]:
        """Count what the network is, without training it: weights, operations of an answer, bytes of its file.

        With "latency_ms" in `measured` also the median milliseconds of an answer to one row, on one core.
        """
        row = {name: torch.as_tensor(column[:1]) for name, column in self.loop.validation.items()}
        tensors = self.network.state_dict().values()
        return {
            "parameters": self.parameters,
            "operations": count_operations(self.network, row),
            "size_bytes": sum(one.numel() * one.element_size() for one in tensors),
            **({"latency_ms": self._latency_ms(row)} if "latency_ms" in measured else {}),
        }

    def _latency_ms(self, row: Mapping[str, Tensor]) -> float:
        times = []
        for _ in range(LATENCY_WARM_UP + LATENCY_ANSWERS):
            started = time.perf_counter()
            self.network.predict_outputs(row)
            times.append(1e3 * (time.perf_counter() - started))
        return round(statistics.median(times[LATENCY_WARM_UP:]), 4)

    def advance(self, steps: int, seconds: float) -> Score:
        """Train on to so many updates in all, as configured where that is 0, for at most `seconds`.

        An unfinished epoch stays where it is.
        """
        started = time.monotonic()
        self.loop.run(None, started + seconds, steps=steps or None)
        best = self.loop.best
        record = best[1] if best else self._measure()
        self.seconds += time.monotonic() - started
        name, _ = first_metric(self.network.task)
        return Score(record[name], record["validation_loss"], self.loop.epoch, self.seconds)

    def standard_error(self) -> float:
        """Return the standard error of the score, by bootstrapping validation rows."""
        task = self.network.task
        output, target = self._evaluate()[1]
        n = min(len(target), MAX_RESAMPLED_ROWS)
        draw = torch.Generator().manual_seed(0)
        name, _ = first_metric(task)
        if not task.BOOTSTRAP_METRICS:
            return float(task.row_scores(output, target).double().std() / len(target) ** 0.5)
        values = []
        for _ in range(BOOTSTRAP_SAMPLES):
            rows = torch.randint(len(target), (n,), generator=draw)
            values.append(task.metrics(output[rows], target[rows])[name])
        spread = float(torch.tensor(values, dtype=torch.float64).std())
        return spread * float((n / len(target)) ** 0.5)

    def recent_gain(self) -> float | None:
        """Return what the best score gained since half of the epochs; None where there were fewer than two."""
        scores = [key[0] for key in self.loop.history.sort_keys]
        if len(scores) < 2:
            return None
        before, now = max(scores[: len(scores) // 2]), max(scores)
        return now - before if math.isfinite(now - before) else None

    def row_scores(self) -> list[float]:
        """Return the deciding quantity of each validation row, for paired comparisons."""
        task = self.network.task
        return task.row_scores(*self._evaluate()[1]).double().tolist()

    def _evaluate(self) -> tuple[float, tuple[Tensor, Tensor]]:
        """Return the validation loss of the best weights, and the metric inputs of the validation rows."""
        live = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.loop.best_state())
        started = time.monotonic()
        metrics = self.network.evaluate(self.loop.validation)
        self.predict_ms = 1e3 * (time.monotonic() - started) / len(self.loop.validation["target"])
        self.network.load_state_dict(live)
        return metrics

    def _measure(self) -> dict[str, float]:
        """Return the current scores, where no epoch could be finished."""
        loss, facts = self._evaluate()
        return {"validation_loss": loss, **self.network.task.metrics(*facts)}


def first_metric(task: Any) -> tuple[str, str]:
    """Return the deciding metric of a task that is built, and "max" or "min"."""
    name, goal = next(iter(task.METRICS.items()))
    return name, goal
