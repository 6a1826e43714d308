"""Prepare all rows: infer columns from a sample, run all shards, and rerun those that the totals change."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from evergreen.core import parts
from evergreen.core.progress import Progress
from evergreen.data import kinds
from evergreen.data.field import TensorField
from evergreen.data.fitting import fit_target
from evergreen.data.parquet import RowGroup
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.filter import filter_rows, no_rows_left_error
from evergreen.data.prepare.invalid_rows import check_any_valid, check_invalid_fraction
from evergreen.data.prepare.prepared_rows import RowReader, check_no_empty_split
from evergreen.data.prepare.series_reader import SeriesReader
from evergreen.data.prepare.split import SPLITS
from evergreen.data.prepare.table_reader import TableReader
from evergreen.data.prepared import QUARANTINED, row_groups
from evergreen.models.base import Task
from evergreen.stages.code_version import code_version
from evergreen.stages.preprocess import dealt_splits, raw_sample, samples
from evergreen.stages.preprocess.counts import ShardCounts
from evergreen.stages.preprocess.shards import DONE, SAMPLE, PrepareJob, Shard, make_shards
from evergreen.stages.preprocess.workers import run_shards

FIT_ROWS = 100_000  # training rows that a spec is fitted on, at most
SPARE = 2  # samples keep so many times the rows they need, since some turn out to be in other splits
OTHERS = 4  # rows read for each row of the test split
SHOWN_ROWS = 100_000  # invalid rows that are kept for a person when there are too many


@dataclass(frozen=True)
class PreparedResult:
    """Hold the reader, the counts and the folder of prepared rows."""

    reader: RowReader
    tally: ShardCounts
    folder: Path  # the parts lie here, by split
    target: (
        TensorField | None
    )  # a target of classes, counted over all training rows; other targets are fitted on a sample

    @property
    def rows(self) -> dict[str, int]:
        """Return split → rows."""
        return _rows(self.tally)

    @property
    def samples(self) -> Path:
        """Return the folder with the rows of the smallest ids, by split; see data/prepared.py."""
        return self.folder / SAMPLE


def make_reader(config: PreprocessConfig, units: Sequence[RowGroup], job: type[Task]) -> RowReader:
    """Return the reader of a pipeline's raw rows. Raises DataError where columns or rows are unsuitable."""
    windows = [kind for kind in job.TARGETS if kinds.find(kind).SPANS_ROWS]
    if windows:
        return SeriesReader.from_sample(raw_sample.sample_raw(units, lambda table: table), config, windows[0])
    sample = raw_sample.sample_raw(units, lambda table: filter_rows(table, config.filter))
    if not len(sample) and config.filter:
        raise no_rows_left_error(units[0].read(), config.filter)
    reader = TableReader.from_sample(
        sample, job.TARGETS, config, generated=job.GENERATED_INPUTS, from_itself=job.TARGET_IS_INPUT
    )
    return reader.fit_global_state(
        (unit.read(reader.columns_needed_globally) for unit in units if reader.columns_needed_globally), sample
    )


def prepare_all(
    reader: RowReader,
    units: Sequence[RowGroup],
    config: PreprocessConfig,
    job: type[Task],
    options: Mapping[str, Any],
    folder: Path,
    root: Path,
    progress: Progress,
) -> PreparedResult:
    """Prepare all rows in `folder`.

    Raises TooManyInvalidRowsError, and DataError where a split is empty.
    """
    shards, rows = make_shards(units, bool(reader.all_rows_reason)), sum(unit.rows for unit in units)
    n_kept = {split: OTHERS * most for split, most in samples.ROWS.items()} | {"train": FIT_ROWS}
    below = {split: SPARE * most / rows for split, most in n_kept.items()}
    work = PrepareJob(reader, folder, below, config.memory_mb)
    _begin(work, units)
    tallies = _all(shards, work, root, progress)
    total = ShardCounts.summed(tallies)
    if total.bad:
        few = _aside(folder) if not total.rows or total.bad.total() > config.max_invalid_fraction * total.raw else None
        check_any_valid(total.rows.total(), total.bad, few)
        check_invalid_fraction(total.raw, total.bad, config.max_invalid_fraction, few)
    if reader.splitter and reader.splitter.deals_now:
        reader, moved = dealt_splits.deal_rows(reader, reader.splitter, shards, work)
        work = replace(work, reader=reader, turn=1)
        tallies = _rerun(shards, tallies, moved, work, root, progress)
        total = ShardCounts.summed(tallies)
    unseen = _unseen_classes(total)
    left = {split: count - _among(total, split, unseen) for split, count in _rows(total).items()}
    check_no_empty_split(left, reader.split_method)
    if not kinds.find(reader.schema.target_kind).HAS_CLASSES:
        return PreparedResult(reader, total, folder, None)
    target = _target(reader, total, config)
    unlearned = _unlearned_classes(job, target, options, total)
    if not unseen and not unlearned:
        return PreparedResult(reader, total, folder, target)
    touched = [_touched(one, unseen, unlearned) for one in tallies]
    changed = replace(reader, unseen_classes=unseen, unlearned_classes=unlearned)  # type: ignore[type-var]
    total = ShardCounts.summed(_rerun(shards, tallies, touched, replace(work, reader=changed, turn=2), root, progress))
    check_no_empty_split(_rows(total), reader.split_method)
    return PreparedResult(changed, total, folder, target)


def _begin(work: PrepareJob, units: Sequence[RowGroup]) -> None:
    """Keep finished shards of a killed run with equal code, configuration and raw rows; else start anew."""
    stats = [(unit.path.name, unit.group, unit.path.stat().st_size, unit.path.stat().st_mtime_ns) for unit in units]
    code = code_version("preprocess", {"kind": parts.names("kinds")})
    known = repr((work.reader, stats, code))
    key = hashlib.blake2b(known.encode(), digest_size=16).hexdigest()
    note = work.folder / "key"
    if not note.is_file() or note.read_text() != key:
        for left in work.folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        note.write_text(key)
    (work.folder / DONE).mkdir(exist_ok=True)


def _all(shards: Sequence[Shard], work: PrepareJob, root: Path, progress: Progress) -> list[ShardCounts]:
    rows = 0

    def report_rows(n_rows: int) -> None:
        nonlocal rows
        rows += n_rows
        progress(stage="preprocess", rows=rows)

    return run_shards(shards, work, root, report_rows) if shards else []


def _rerun(
    shards: Sequence[Shard],
    tallies: Sequence[ShardCounts],
    again: Sequence[bool],
    work: PrepareJob,
    root: Path,
    progress: Progress,
) -> list[ShardCounts]:
    """Prepare some shards again; return the counts of all."""
    places = [place for place, one in enumerate(again) if one]
    renewed = dict(zip(places, _all([shards[place] for place in places], work, root, progress), strict=True))
    return [renewed.get(place, tally) for place, tally in enumerate(tallies)]


def _rows(tally: ShardCounts) -> dict[str, int]:
    return {split: tally.rows[split] for split in SPLITS}


def _aside(folder: Path) -> pa.Table:
    """Return some of the quarantined rows."""
    tables, rows = [], 0
    for unit in row_groups(folder, QUARANTINED):
        tables.append(unit.read())
        rows += unit.rows
        if rows >= SHOWN_ROWS:
            break
    return pa.concat_tables(tables)


def _unseen_classes(tally: ShardCounts) -> frozenset[str]:
    """Return the classes that no training row has."""
    classes = tally.classes
    all_classes = {word for held in classes.values() for word in held}
    return frozenset(all_classes - set(classes["train"])) if "train" in classes else frozenset(all_classes)


def _among(tally: ShardCounts, split: str, words: frozenset[str]) -> int:
    counts = tally.classes.get(split)
    return sum(counts[word] for word in words) if counts else 0


def _touched(tally: ShardCounts, unseen: frozenset[str], unlearned: frozenset[str]) -> bool:
    return any(_among(tally, split, unseen) > 0 for split in tally.classes) or _among(tally, "train", unlearned) > 0


def _target(reader: RowReader, tally: ShardCounts, config: PreprocessConfig) -> TensorField:
    """Return the field of a target of classes, with counts over all training rows."""
    schema, counts = reader.schema, tally.classes["train"]
    words = pa.array(sorted(counts), pa.string())
    options = schema.options.get(schema.target, {})
    field = fit_target(pa.table({schema.target: words}), schema.target, schema.target_kind, config.transform, options)
    codes = kinds.kind_of(field).encode(field, [words])
    rows = np.bincount(codes, [counts[word] for word in words.to_pylist()]).astype(int)
    return replace(field, state={**field.state, "counts": [rows.tolist()]})


def _unlearned_classes(
    job: type[Task], target: TensorField, options: Mapping[str, Any], tally: ShardCounts
) -> frozenset[str]:
    """Return the classes that the task does not learn from."""
    if job.trainable_rows is Task.trainable_rows:
        return frozenset()
    words = sorted(tally.classes["train"])
    codes = torch.as_tensor(kinds.kind_of(target).encode(target, [pa.array(words, pa.string())]))
    learned = job(target, 1, **options).trainable_rows(codes).tolist()
    return frozenset(word for word, one in zip(words, learned, strict=True) if not one)
