"""How often the report's interval holds the score on fresh rows: a small table from a large one, again and again.

Each of 200 draws takes some rows as the table, which the product splits; the linear anchor (scikit-learn's logistic or
ridge regression, the reference model of `validate`) learns from training and validation rows, and `validate` computes
its intervals of 95% on the test rows. All other rows are fresh, so a score on them errs a little by itself. No engine
runs. `python -m benchmarks.coverage wine` measures one of the data sets.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks import sized
from evergreen.core.paths import Paths
from evergreen.data.fitting import fit
from evergreen.data.prepare.assignment import Assignment, class_codes
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.split import TEST
from evergreen.data.prepare.table_reader import TableReader
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build, find_task
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evidence import Evidence
from evergreen.stages.validate.predictions import Predictions
from evergreen.stages.validate.reference_models import fit_reference

DRAWS = sized(200, 2)
ENOUGH = 0.93  # of the draws


@dataclass(frozen=True)
class DataSet:
    """A shipped data set, and how many of its rows are drawn as the table."""

    uri: str
    target: str
    rows: int
    task: str = "classification"


SETS = {
    "breast_cancer": DataSet("sklearn:breast_cancer", "diagnosis", 200),
    "diabetes": DataSet("sklearn:diabetes", "progression", 150, "regression"),
    "digits": DataSet("sklearn:digits", "digit", 500),
    "eight": DataSet("digits:eight", "eight", 500),
    "wine": DataSet("sklearn:wine", "cultivar", 80),
}


@dataclass(frozen=True)
class Draw:
    """What one draw found."""

    score: dict[str, float]  # metric → on the test rows
    fresh: dict[str, float]  # metric → on fresh rows
    is_held: dict[str, bool]  # metric → whether the interval holds the fresh score
    rarest: tuple[float, float]  # share of the rarest class that tests: dealt, and by its hash alone


def collected(one: DataSet) -> pa.Table:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        paths = Paths(Path(folder), "t")
        collect.run(CollectConfig(uri=one.uri), paths)
        return pa.concat_tables(pq.read_table(part) for part in sorted(paths.raw.glob("part-*.parquet")))


def draws(one: DataSet) -> Iterator[Draw]:
    every, config = collected(one), PreprocessConfig(target=one.target)
    for number in range(DRAWS):
        order = np.random.default_rng(number).permutation(len(every))
        table, fresh = every.take(order[: one.rows]), every.take(order[one.rows :])
        yield draw(one, table, fresh, config)


def draw(one: DataSet, table: pa.Table, fresh: pa.Table, config: PreprocessConfig) -> Draw:
    job = find_task(one.task)
    reader = TableReader.from_sample(table, job.TARGETS, config).fit_global_state((), table)
    way = replace(reader.splitter, known=Assignment(reader.splitter.settings))
    units = replace(reader, splitter=way).prepare(table).units
    way, splits = way.deal(units)
    reader = replace(reader, splitter=way)
    ready, others = reader.prepare(table), reader.prepare(fresh).table
    train, test = ready.split_rows("train"), ready.split_rows("test")
    learned = pa.concat_tables([train, ready.split_rows("validation")])
    schema = reader.schema
    fields = fit(train, schema.inputs, schema.target, schema.target_kind)
    spec = FeatureSpec(one.task, *fields, schema.target, None, {})
    arrays = [spec.encode(part, target=True) for part in (learned, test, others)]
    task = build("linear", one.task, spec.inputs, spec.target, {}).task
    scored = [_predictions(spec, task, arrays[0], rows) for rows in arrays[1:]]
    nothing: dict[str, Any] = dict.fromkeys(("model", "table", "baseline", "reference", "released"))
    evidence = Evidence(**nothing, candidate=scored[0], version="", refusal="", new_classes=[], block=1, train={})
    found, truth = evidence.intervals(ValidateConfig()), scored[1].metrics()
    held = {name: one.bounds[0] <= truth[name] <= one.bounds[1] for name, one in found.items()}
    classes = class_codes(units["target"], len(units))
    rare = classes == np.bincount(classes).argmin()
    shares = [float((places[rare] == TEST).mean()) for places in (splits, units["place"].to_numpy())]
    return Draw({name: one.value for name, one in found.items()}, truth, held, (shares[0], shares[1]))


def _predictions(spec: Any, task: Any, learned: dict[str, Any], rows: dict[str, Any]) -> Predictions:
    fitted = fit_reference(spec, learned, rows, task=task)
    assert fitted is not None
    return Predictions.from_output(fitted[0], task, fitted[1], torch.as_tensor(rows["target"]))


def main() -> int:
    names, short = sys.argv[1:] or list(SETS), []
    print(
        f"{DRAWS} draws each; the first metric of a data set decides: its interval has to hold {ENOUGH:.0%} of them.\n"
    )
    print("| data set | rows: table, test | metric | on test rows | on fresh rows | held |")
    print("|---|---|---|---:|---:|---:|")
    ranges = []
    for name in names:
        found = list(draws(SETS[name]))
        for place, metric in enumerate(found[0].score):
            held = np.mean([one.is_held[metric] for one in found])
            score, fresh = (np.mean([getattr(one, side)[metric] for one in found]) for side in ("score", "fresh"))
            about = f"{name} | {SETS[name].rows}, {SETS[name].rows // 5}" if not place else " | "
            print(f"| {about} | {metric} | {score:.3f} | {fresh:.3f} | {held:.1%} |", flush=True)
            short += [name] if not place and held < ENOUGH and DRAWS >= 200 else []
        dealt, hashed = (np.array([one.rarest[side] for one in found]) for side in (0, 1))
        ranges.append(f"| {name} | {dealt.min():.0%} to {dealt.max():.0%} | {hashed.min():.0%} to {hashed.max():.0%} |")
    print("\nOf the rarest class, or the smallest tenth of numbers, so many rows test, of 20% asked for:\n")
    print("| data set | dealt | by hash alone |\n|---|---|---|")
    print("\n".join(ranges))
    return int(bool(short))


if __name__ == "__main__":
    raise SystemExit(main())
