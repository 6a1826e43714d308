"""Streams of requests that change, by the monitor and by detectors of river, and estimated against true accuracy.

Half of each table trains a small network; requests are drawn from the other half, with replacement, and logged by the
log's own writer. The stream changes in its middle. River's detectors (`pip install --no-deps -r
benchmarks/requirements.txt`) read each column and the prediction, those for the changed rule the errors, row by row.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import sized

TABLES = {
    "breast_cancer": ("classification", "sklearn:breast_cancer", "diagnosis"),
    "diabetes": ("regression", "sklearn:diabetes", "progression"),
    "fair": ("classification", "statsmodels:fair", "rate_marriage"),
    "anes96": ("classification", "statsmodels:anes96", "vote"),
    "randhie": ("regression", "statsmodels:randhie", "mdvis"),
    "digits": ("classification", "sklearn:digits", "digit"),
}
DETECTED = sized(("breast_cancer", "diabetes", "fair", "anes96", "randhie"), ("breast_cancer",))
ESTIMATED = sized(("breast_cancer", "digits", "fair", "anes96"), ("breast_cancer",))
WINDOWS = sized((100, 500), (100,))  # rows of a window
HALF = sized(10_000, 400)  # rows before the change, and after it
SHIFTED_ROWS, SHIFTS, SPLITS = sized(5000, 300), sized(20, 3), sized(4, 1)
FLOORS = (0.05, 0.1, 0.2)  # distances from which a column matters
VERSION, TESTS = "v1.0.0", 1e-3
Array = np.ndarray[Any, Any]


@dataclass
class Pool:
    """Rows that requests are drawn from, a model that has not seen them, and its answers to them."""

    name: str
    root: Path
    model: Any
    rows: pa.Table
    truth: Array
    ready: Path

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        return self.model.predict(self.rows)

    @cached_property
    def numbers(self) -> list[str]:
        kept = (name for name in self.model.spec.columns if pa.types.is_floating(self.rows[name].type))
        return [name for name in kept if len(self.rows[name].unique()) > 2]

    def errors(self, answers: list[dict[str, Any]], truth: Array) -> Array:
        """1 where a class is wrong, or the squared error."""
        said = np.array([answer["prediction"] for answer in answers])
        return (said != truth).astype(float) if self.model.spec.task == "classification" else (said - truth) ** 2


def make_pool(name: str, folder: Path, seed: int = 0) -> Pool:
    """Train on one half of a table, another with each seed."""
    import torch

    from evergreen.core.paths import Paths
    from evergreen.data import sources
    from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split
    from evergreen.data.prepare.config import PreprocessConfig
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import build
    from evergreen.models.training.config import TrainingConfig
    from evergreen.models.training.trainer import Trainer
    from evergreen.stages.artifacts import load_model, save_model
    from evergreen.stages.collect import stage as collect
    from evergreen.stages.collect.config import CollectConfig
    from evergreen.stages.monitor.reference import write_reference
    from evergreen.stages.preprocess import stage as preprocess

    task, uri, target = TABLES[name]
    folder = folder / str(seed)
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_batches(sources.open_source(uri, folder).read()).drop_columns(["_origin"])
    order = np.random.default_rng(seed).permutation(len(table))
    seen, unseen = (table.take(half) for half in np.array_split(order, 2))
    pq.write_table(seen, folder / f"{name}.parquet")
    paths = Paths(folder, name)
    collect.run(CollectConfig(uri=str(folder / f"{name}.parquet")), paths, task=task)
    preprocess.run(PreprocessConfig(target=target, test_fraction=0.35), paths, task=task)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec, recipe = FeatureSpec.load(paths.ready), TrainingConfig(epochs=30, seed=0)
    network = build("linear", spec.task, spec.inputs, spec.target)
    feed = InMemoryBatches(load_encoded_split(paths.ready, "train"), recipe.batch_size, seed=0, shuffle=True)
    validation = load_encoded_split(paths.ready, "validation")
    loop = Trainer(network, feed, validation, recipe)
    loop.run()
    network.load_state_dict(loop.best_state())
    network.calibrate(validation)
    card = {"architecture": "linear", "task": spec.task, "options": {}, "spec": spec.to_json()}
    save_model(paths.candidate, network, card)
    write_reference(paths.monitor / VERSION, paths.candidate, paths.ready)
    model = load_model(paths.candidate)
    rows, faults = spec.validate_table(unseen.select(spec.columns))
    good = np.array([row for row in range(len(rows)) if row not in faults])
    words = np.array(unseen[target].to_pylist())[good]
    return Pool(name, folder, model, rows.take(good), words, paths.ready)


def shift(pool: Pool, table: pa.Table, deviations: Array) -> pa.Table:
    """Move one column in five by so many of its standard deviations, row by row."""
    for name in moved_columns(pool):
        values = table[name].to_numpy()
        spread = float(np.nanstd(pool.rows[name].to_numpy()))
        table = table.set_column(table.column_names.index(name), name, pa.array(values + deviations * spread))
    return table


def moved_columns(pool: Pool) -> list[str]:
    return pool.numbers[::5][: max(1, len(pool.numbers) // 5)]


def draw(pool: Pool, n_rows: int, seed: int, weights: Array | None = None) -> Array:
    p = None if weights is None else weights / weights.sum()
    return np.random.default_rng(seed).choice(len(pool.rows), n_rows, p=p)


def odd_classes(pool: Pool) -> Array:
    """Weights of rows by which the rarest class, or what lies above the median, comes four times as often."""
    if pool.model.spec.task == "classification":
        values, counts = np.unique(pool.truth, return_counts=True)
        return np.where(pool.truth == values[counts.argmin()], 4.0, 1.0)
    return np.where(pool.truth > np.median(pool.truth), 4.0, 1.0)


@dataclass
class Stream:
    """Rows in their order, their answers and their truth."""

    rows: pa.Table
    answers: list[dict[str, Any]]
    truth: Array


def make_stream(pool: Pool, change: str, seed: int) -> Stream:
    """Draw a stream whose second half is changed."""
    before, after = draw(pool, HALF, seed), draw(pool, HALF, seed + 1)
    if change == "label shift":
        after = draw(pool, HALF, seed + 1, odd_classes(pool))
    first, second = pool.rows.take(before), pool.rows.take(after)
    truth = pool.truth[np.concatenate([before, after])]
    if change == "sudden":
        second = shift(pool, second, np.ones(HALF))
    elif change == "gradual":
        second = shift(pool, second, np.minimum(np.arange(HALF) / (HALF / 2), 1.0))
    elif change == "broken column":
        name = moved_columns(pool)[0]
        broken = pa.array(np.full(HALF, pool.rows[name][0].as_py()))
        second = second.set_column(second.column_names.index(name), name, broken)
    elif change == "changed rule":
        truth[HALF:] = np.random.default_rng(seed).permutation(truth[HALF:])
    changed = change in ("sudden", "gradual", "broken column")
    known = [pool.answers[place] for place in (before if changed else np.concatenate([before, after]))]
    return Stream(pa.concat_tables([first, second]), known + (pool.model.predict(second) if changed else []), truth)


def run_monitor(pool: Pool, stream: Stream, window: int, *, labels: bool = False) -> list[dict[str, Any]]:
    """Log a stream, look at it, and return the windows."""
    import shutil

    from evergreen.core.paths import Paths
    from evergreen.stages.answer_table import Answers
    from evergreen.stages.deploy.late_labels import add_labels
    from evergreen.stages.deploy.request_log import Entry, RequestLog
    from evergreen.stages.monitor import stage as monitor
    from evergreen.stages.operation import MonitorConfig

    with tempfile.TemporaryDirectory(dir=pool.root) as folder:
        paths = Paths(Path(folder), pool.name)
        shutil.copytree(Paths(pool.root, pool.name).monitor / VERSION, paths.monitor / VERSION)
        served = SimpleNamespace(
            version=VERSION, limits={"log": {"sample": 1.0, "drop": [], "days": 9, "max_bytes": 2**40}}
        )
        log = RequestLog(paths.requests.parent, "one")
        for start in range(0, len(stream.rows), window):
            some = Answers([stream.answers[start : start + window]])
            rows = stream.rows.slice(start, window)
            log._queue.append(Entry(pool.name, served, rows, some, f"r{start}", "", 0.001, 1))  # type: ignore[arg-type]
            log.flush()
        log.close()
        if labels:
            told = [
                {"request_id": f"r{start}", "row": row, "label": truth}
                for start in range(0, len(stream.truth), window)
                for row, truth in enumerate(stream.truth[start : start + window].tolist())
            ]
            add_labels(paths.requests, pool.model.spec, told)
        return monitor.run(MonitorConfig(window=window), paths)["windows"]


def alarms_of_windows(windows: list[dict[str, Any]], floor: float, metric: str, *, by_labels: bool) -> list[int]:
    """Return the rows after which the monitor says that something moved."""
    from evergreen.stages.monitor.findings import find_rule_change

    found, end = [], 0
    for place, window in enumerate(windows):
        end += window["rows"]
        if by_labels:
            is_alarm = bool(find_rule_change(windows[: place + 1], metric))
        else:
            n_tests = max(1, len(window["columns"]))
            is_alarm = any(one["distance"] >= floor and one["p"] * n_tests < TESTS for one in window["columns"])
            is_alarm = is_alarm or any("unlike all training rows" in text for text in window["moved"])
        if is_alarm:
            found.append(end)
    return found


def river_detectors() -> dict[str, tuple[Callable[[int], Any], int]]:
    """Return name → (a detector for one of so many columns, how many rows it skips), with thresholds swept."""
    try:
        from river import drift
    except ImportError:
        return {}
    found: dict[str, tuple[Callable[[int], Any], int]] = {}
    for delta in (2e-3, 1e-5, 1e-9):
        found[f"river ADWIN, δ {delta:g}"] = (lambda n, delta=delta: drift.ADWIN(delta=delta / n), 1)  # type: ignore[misc]
    for far in (50, 200, 1000):
        found[f"river PageHinkley, λ {far}"] = (lambda n, far=far: drift.PageHinkley(threshold=far), 1)  # type: ignore[misc]
    found["river KSWIN, α 1e-5, every 20th row"] = (lambda n: drift.KSWIN(alpha=1e-5 / n, seed=0), 20)
    return found


def alarms_of_river(pool: Pool, stream: Stream, make: Callable[[int], Any], every: int, by_labels: bool) -> list[int]:
    """Return the rows after which a detector on any column, each standardized, raises an alarm."""
    said = np.array([answer["prediction"] for answer in stream.answers])
    codes = said.astype(float) if said.dtype.kind in "fi" else (said == said[0]).astype(float)
    columns = [stream.rows[name].to_numpy() for name in pool.numbers] + [codes]
    if every > 1:
        columns = [stream.rows[moved_columns(pool)[0]].to_numpy(), codes]
    if by_labels:
        columns = [pool.errors(stream.answers, stream.truth)]
    found = set()
    for values in columns:
        spread = values[:HALF].std() or 1.0
        detector = make(len(columns))
        for row, value in enumerate(((values - values[:HALF].mean()) / spread)[::every].tolist()):
            detector.update(value)
            if detector.drift_detected:
                found.add(row * every)
    return sorted(found)


CHANGES = ("none", "sudden", "gradual", "broken column", "label shift", "changed rule")


def detect(pools: dict[str, Pool]) -> Iterator[list[str]]:
    """Yield the rows of the table of detectors."""
    detectors, alarms = river_detectors(), dict[str, dict[str, list[list[int]]]]()
    for name in DETECTED:
        pool = pools[name]
        for number, change in enumerate(CHANGES):
            stream, by_labels = make_stream(pool, change, 10 * number), change == "changed rule"
            metric = "accuracy" if pool.model.spec.task == "classification" else "rmse"
            for size in WINDOWS:
                windows = run_monitor(pool, stream, size, labels=by_labels)
                for floor in FLOORS:
                    rows = alarms_of_windows(windows, floor, metric, by_labels=by_labels)
                    label = f"**monitor, windows of {size}, matters {floor:g}**"
                    alarms.setdefault(label, {}).setdefault(change, []).append(rows)
            for label, (make, every) in detectors.items():
                rows = alarms_of_river(pool, stream, make, every, by_labels)
                alarms.setdefault(label, {}).setdefault(change, []).append(rows)
    for label, by_change in alarms.items():
        false = sum(sum(row <= HALF for row in rows) for some in by_change.values() for rows in some)
        false += sum(sum(row > HALF for row in rows) for rows in by_change["none"])
        n_calm = HALF * len(DETECTED) * (len(CHANGES) + 1)
        cells = []
        for change in CHANGES[1:]:
            delays = [min((row - HALF for row in rows if row > HALF), default=None) for rows in by_change[change]]
            hits = [delay for delay in delays if delay is not None]
            cells.append(f"{len(hits)}/{len(delays)}, {median(hits):,.0f}" if hits else f"0/{len(delays)}")
        yield [label, f"{1e5 * false / n_calm:.1f}", *cells]


@dataclass
class Estimates:
    """Estimated and true accuracy of windows, one of each list a window."""

    true: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    naive: list[float] = field(default_factory=list)  # of the mean probability
    held: list[bool] = field(default_factory=list)  # whether the interval holds the true accuracy

    def row(self, name: str) -> list[str]:
        spread = f"{min(self.true):.3f} to {max(self.true):.3f}"
        errors = [f"{np.mean(some):.4f}" for some in (self.errors, self.naive)]
        return [name, spread, *errors, f"{np.mean(self.held):.0%}"]


def estimate(pool: Pool, found: Estimates) -> None:
    """Add windows of rows that are drawn along random directions."""
    from evergreen.stages.monitor.row_scores import confidence

    encoded = pool.model.spec.encode(pool.rows, target=False)
    x = np.concatenate([one.reshape(len(one), -1) for one in encoded.values()], axis=1).astype(float)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    random = np.random.default_rng(1)
    for number in range(SHIFTS):
        along = x @ random.normal(size=x.shape[1])
        drawn = draw(pool, SHIFTED_ROWS, number, np.exp(0.7 * np.clip(along / along.std(), -3, 3)))
        stream = Stream(pool.rows.take(drawn), [pool.answers[place] for place in drawn], pool.truth[drawn])
        (window,) = run_monitor(pool, stream, SHIFTED_ROWS)
        true, said = 1 - float(pool.errors(stream.answers, stream.truth).mean()), window["estimate"]
        first = stream.answers[0]["probabilities"]
        chances = {name: [one["probabilities"][name] for one in stream.answers] for name in first}
        answered = {f"p_{name}": np.array(values) for name, values in chances.items()}
        sure = confidence(answered | {"prediction": np.array([one["prediction"] for one in stream.answers])})
        assert sure is not None
        found.true.append(true)
        found.errors.append(abs(said["mean"] - true))
        found.naive.append(abs(float(sure.mean()) - true))
        found.held.append(said["low"] <= true <= said["high"])


def show(head: list[str], rows: list[list[str]]) -> None:
    for cells in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        pools = {name: make_pool(name, Path(folder)) for name in DETECTED}
        sizes = " or ".join(map(str, WINDOWS))
        print(f"{len(DETECTED)} tables, {2 * HALF:,} requests a stream, changed after {HALF:,}; windows of {sizes}.")
        print("Streams in which it was noticed, and the median rows until then; false alarms in what did not change.\n")
        show(["detector", "false alarms in 100,000 rows", *CHANGES[1:]], list(detect(pools)))
        whole = f"{SPLITS * SHIFTS} windows of {SHIFTED_ROWS:,} rows each, over {SPLITS} splits of each table"
        print(f"\nAccuracy without labels under covariate shift: {whole}.\n")
        head = ["table", "true accuracy", "mean absolute error", "of the mean probability", "95% intervals that hold"]
        found = {name: Estimates() for name in ESTIMATED}
        for name in ESTIMATED:
            for seed in range(SPLITS):
                estimate(make_pool(name, Path(folder), seed + 10), found[name])
        every = Estimates(*([x for one in found.values() for x in getattr(one, key)] for key in vars(Estimates())))
        show(head, [*(one.row(name) for name, one in found.items()), every.row("**all**")])


if __name__ == "__main__":
    main()
