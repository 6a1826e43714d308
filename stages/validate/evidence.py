"""Evaluate a candidate, its opponents and the released version on the same test rows, and compare them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evergreen.data import kinds
from evergreen.data.feed import batches
from evergreen.data.kinds import find as find_kind
from evergreen.data.prepared import hash_sample
from evergreen.data.spec import FeatureSpec
from evergreen.models.base import Batch, Task
from evergreen.models.chunked import PredictFn
from evergreen.stages.artifacts import SCRATCH, Model, load_model
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.predictions import Predictions
from evergreen.stages.validate.reference_models import fit_reference
from evergreen.stages.validate.statistics import Array, Estimate, block_length, bootstrap, compare

MANY_ROWS = 20_000  # above it fewer bootstrap samples are drawn: intervals are narrow, and each sample is slow


@dataclass(frozen=True)
class PairedDifference:
    """Hold by how much the candidate beats another model: a fraction of the rows, or of the other's error or score."""

    mine: float  # the mean over rows: of right answers, or of the error or score
    theirs: float
    share: Estimate
    p: float
    rows: int
    deviation: float  # of one row, in the same unit
    of: str  # "rows" | "error" | "score"
    test: str
    metric: str = ""  # of which both means are the value; "" where they are of none
    hits: tuple[float, float] | None = None  # shares of rows that both get right, where rows are right or wrong

    def to_json(self) -> dict[str, Any]:
        """Return the difference as `metrics.json` stores it."""
        means = {"mine": self.mine, "theirs": self.theirs, "metric": self.metric, "hits": self.hits}
        return {**vars(self.share), **means, "p": self.p, "share_of": self.of, "test": self.test}


@dataclass(frozen=True)
class Evidence:
    """Hold the predictions of all models for the test rows, and compute intervals and differences from them."""

    model: Model
    table: pa.Table  # the test rows, raw
    candidate: Predictions
    baseline: Predictions
    reference: Predictions | None
    released: Predictions | None
    version: str  # of the released one, or nothing
    refusal: str  # why the released version cannot score these rows, or nothing
    new_classes: list[Any]  # those that the released version does not know: it is wrong about their rows
    block: int  # rows drawn together
    train: dict[str, Array]  # the training rows, encoded
    # the same network from scratch, an SVM on its features
    others: dict[str, Predictions] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return the number of test rows."""
        return len(self.candidate.target)

    def truth(self) -> list[Any]:
        """Return the actual value of each row, in the data's units."""
        field = self.model.spec.target
        if field.shape == () and "values" in field.state:
            return kinds.kind_of(field).decode(field, self.candidate.target.numpy())
        return list(self.table[field.columns[0]].to_pylist())

    @property
    def opponents(self) -> dict[str, Predictions]:
        """Return the predictions of every model that the candidate is compared with, by role."""
        opponents = {"baseline": self.baseline, "reference": self.reference, **self.others, "released": self.released}
        return {role: scored for role, scored in opponents.items() if scored is not None}

    def gap(self, other: Predictions, config: ValidateConfig) -> PairedDifference:
        """Compare the candidate with another model by a paired test."""
        right = self.candidate.is_right_or_wrong and other.is_right_or_wrong
        mine, theirs = self.candidate.row_scores, other.row_scores
        more = self.candidate.task.ROW_SCORE_GOAL == "max"
        scale = 1.0 if right else abs(float(theirs.mean())) or 1.0
        pair = (mine / scale, theirs / scale) if more else (-mine / scale, -theirs / scale)
        n_samples = 2 * config.bootstrap_samples
        difference = compare(*pair, confidence=config.confidence, times=n_samples, block=self.block, seed=config.seed)
        means, of = (float(mine.mean()), float(theirs.mean())), "rows" if right else "score" if more else "error"
        values = [scored.overall_metrics[self._decider] for scored in (self.candidate, other)]
        metric = self._decider if np.allclose(means, values, rtol=1e-6) and not right else ""
        hits = (self.candidate.hits, other.hits)
        shares = None if hits[0] is None or hits[1] is None else (float(hits[0].mean()), float(hits[1].mean()))
        share, p, n_rows, deviation = difference.difference, difference.p, difference.rows, difference.deviation
        return PairedDifference(*means, share, p, n_rows, deviation, of, difference.test, metric, shares)

    @property
    def _decider(self) -> str:
        return next(iter(self.candidate.task.METRICS))

    def intervals(self, config: ValidateConfig, rows: np.ndarray[Any, Any] | None = None) -> Mapping[str, Estimate]:
        """Return every metric of the candidate on `rows` (default: all), with its interval where there is one."""
        chosen = np.arange(self.rows) if rows is None else rows
        if not self.candidate.task.BOOTSTRAP_METRICS:
            values = self.candidate.metrics(torch.from_numpy(chosen))
            return {name: Estimate(value) for name, value in values.items()}
        block = min(self.block, len(chosen))
        n_samples = max(100, min(config.bootstrap_samples, config.bootstrap_samples * MANY_ROWS // len(chosen)))
        with _one_thread():
            return bootstrap(
                lambda drawn, others: self.candidate.metrics(*map(torch.from_numpy, (chosen[drawn], chosen[others]))),
                len(chosen),
                times=n_samples,
                confidence=config.confidence,
                block=block,
                strays=float(self.candidate.task.SCORES_PAIRS and block == 1),
                seed=config.seed,
            )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: thousands of tiny operations are many times slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def collect_evidence(
    candidate: Path, ready: Path, released: tuple[str, Path | None] | None, *, seed: int = 0
) -> Evidence:
    """Predict the test rows with the candidate, the task's baseline, a simple model and the released version.

    `released` is the version's name and the folder of its model, None where it is not to be asked. Where the test rows,
    or the rows that opponents learn from, do not fit into memory, a uniform sample of them is used.
    """
    model, spec = load_model(candidate), FeatureSpec.load(ready)
    max_rows = batches.max_rows_in_memory(spec, tuple(spec.rows), batches.MEGABYTES)
    table = hash_sample(ready, "test", max_rows)
    test = model.spec.encode(table, target=True)
    rows = {name: torch.as_tensor(array) for name, array in test.items()}
    target, task = rows["target"], model.network.task
    splits = [batches.load_encoded_split(ready, split, max_rows) for split in ("train", "validation")]
    known = {name: torch.as_tensor(array) for name, array in splits[0].items()}
    fit_rows = {name: np.concatenate([split[name] for split in splits]) for name in splits[0]}
    fitted = fit_reference(spec, fit_rows, test, seed=seed, task=task)
    incumbent, refusal, new_classes = _released(released, model, table, target)
    steps = target.shape[1] if find_kind(spec.target.kind).SPANS_ROWS else 1
    return Evidence(
        model=model,
        table=table,
        candidate=Predictions("candidate", task, rows, model.network.predict_outputs),
        baseline=Predictions("baseline", task, rows, lambda some: task.baseline(known, some)),
        reference=fitted and Predictions.from_output(fitted[0], task, fitted[1], target),
        released=incumbent,
        version=released[0] if released else "",
        refusal=refusal,
        new_classes=new_classes,
        block=block_length(table.num_rows, ordered=spec.time is not None, overlap=steps),
        train=splits[0],
        others=_others(candidate, model, splits, test, rows),
    )


def score_stored(stored: Path, candidate: Path, ready: Path) -> dict[str, float]:
    """Return the metrics of another stored model on the test rows of a candidate; {} where it cannot answer them."""
    model, spec = load_model(candidate), FeatureSpec.load(ready)
    table = hash_sample(ready, "test", batches.max_rows_in_memory(spec, tuple(spec.rows), batches.MEGABYTES))
    target = torch.as_tensor(model.spec.encode(table, target=True)["target"])
    scored, _, _ = _released(("", stored), model, table, target)
    return scored.overall_metrics if scored else {}


def _others(
    candidate: Path, model: Model, splits: list[dict[str, Array]], test: dict[str, Array], rows: Batch
) -> dict[str, Predictions]:
    """Predict with the network trained from scratch beside a transferred one, and with an SVM on the features."""
    from evergreen.stages.validate.svm import fit_svm

    others: dict[str, Predictions] = {}
    if (candidate / SCRATCH).is_dir():
        alone = load_model(candidate / SCRATCH).network
        others["scratch"] = Predictions("the same network from scratch", alone.task, rows, alone.predict_outputs)
    if (predicted := fit_svm(model.network, model.spec, splits[0], splits[1], test)) is not None:
        name, task = "an SVM on the network's features", model.network.task
        others["svm"] = Predictions.from_output(name, task, predicted, rows["target"])
    return others


def _released(
    released: tuple[str, Path | None] | None, model: Model, table: pa.Table, target: torch.Tensor
) -> tuple[Predictions | None, str, list[Any]]:
    """Predict with the released version, encoding rows by its own spec; else return why it cannot.

    The candidate's task scores it where its own would by another score. Rows of a class that it does not know stay
    among the rows: whatever it answers about them is wrong. The classes are returned too.
    """
    if released is None:
        return None, "", []
    version, folder = released
    if folder is None:
        return None, "it was left out by --baseline-only", []
    old = load_model(folder)
    before, now = ((spec.task, spec.target_name, spec.target.kind) for spec in (old.spec, model.spec))
    task, old_task = model.network.task, old.network.task
    new = task.classes_unknown_to(old_task) if before == now else []
    if before != now or (not new and old.spec.target.shape != model.spec.target.shape):
        return None, f"it predicts {old.spec.target_name!r} ({old.spec.task}), unlike the candidate", []
    try:
        unlike = bool(new) or not task.scores_like(old_task)
        rows = {name: torch.as_tensor(array) for name, array in old.spec.encode(table, target=not unlike).items()}
        if unlike:
            aligned = partial(_aligned_outputs, old.network.predict_outputs, task, old_task)
            scored = Predictions(version, task, rows | {"target": target}, aligned)
        else:
            scored = Predictions(version, old_task, rows, old.network.predict_outputs)
        _ = scored.metric_inputs  # asked at once, for it may not be able to answer
        return scored, "", new
    except (ValueError, KeyError, RuntimeError) as error:  # other columns, another shape
        return None, str(error).splitlines()[0], new


def _aligned_outputs(predict: PredictFn, task: Task, old_task: Task, rows: Batch) -> torch.Tensor:
    return task.align_output(predict(rows), old_task)
