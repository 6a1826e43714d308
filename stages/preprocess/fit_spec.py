"""Fit the spec on the training rows, or on a hash sample of many."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from evergreen.data import kinds, prepared
from evergreen.data.field import TensorField
from evergreen.data.fitting import fit_inputs, fit_target
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.infer import kind_options
from evergreen.data.prepare.windows import HISTORY, mean_step
from evergreen.data.spec import FeatureSpec
from evergreen.stages.preprocess.passes import FIT_ROWS, PreparedResult

SHARE = 8  # the sample takes at most one part in so many of memory_mb


def fit_spec(
    done: PreparedResult, config: PreprocessConfig, train: pa.Table, *, task: str, options: Mapping[str, Any]
) -> FeatureSpec:
    """Fit the spec on `train`, a sample of the training rows."""
    schema = done.reader.schema
    of_target = kinds.find(schema.target_kind)
    spans_rows = of_target.SPANS_ROWS
    kind_options_of = {**kind_options(config.kinds), **schema.options}
    if of_target.HAS_LENGTH or of_target.ALIGNED:
        for name, kind in schema.inputs.items():
            kind_options_of[name] = {**kinds.find(kind).OPTIONS_FOR_STEPS, **kind_options_of.get(name, {})}
    of_inputs = config.transform if spans_rows else ""
    inputs = fit_inputs(train, schema.inputs, of_inputs, kind_options_of)
    target = done.target
    if target is None:
        options_of = kind_options_of.get(schema.target, {})
        target = fit_target(train, schema.target, schema.target_kind, config.transform, options_of)
    if spans_rows:
        inputs, target = _one_quantity(inputs, target, train, config, done.reader.written)
    inputs = {key: _allow_missing(field, done.tally.nulls.get("train", {})) for key, field in inputs.items()}
    return FeatureSpec(task, inputs, target, schema.target, config.time or None, done.rows, dict(options))


def training_sample(done: PreparedResult, config: PreprocessConfig) -> pa.Table:
    """Return the training rows; of very many those with the smallest ids, whatever the order or the workers."""
    units, rows = prepared.row_groups(done.folder, "train"), done.tally.rows["train"]
    of_a_row = max(1, sum(unit.size for unit in units) // rows)
    max_rows = max(1_000, min(FIT_ROWS, (config.memory_mb << 20) // SHARE // of_a_row))
    return prepared.hash_sample(done.folder, "train", max_rows, kept=done.samples)


def _one_quantity(
    inputs: dict[str, TensorField],
    target: TensorField,
    train: pa.Table,
    config: PreprocessConfig,
    written: Mapping[str, str],
) -> tuple[dict[str, TensorField], TensorField]:
    """Give history and target of a series one mean and one deviation, for they are one quantity."""
    history = inputs[HISTORY]
    scale = {name: target.state[name] + history.state[name][1:] for name in ("mean", "std")}
    names: dict[str, Any] = {"channels": [config.target, *config.covariates]} if config.covariates else {}
    names["written"] = dict(written)
    inputs = {**inputs, HISTORY: replace(history, state={**history.state, **scale, **names})}
    return inputs, replace(target, state={**target.state, "naive": mean_step(train, config.target)})


def _allow_missing(field: TensorField, nulls: Mapping[str, int]) -> TensorField:
    """Return a field that allows missing values where any training row lacks one, not only those of the sample."""
    known = field.state.get("missing")
    if known is None:
        return field
    has_missing = [had or nulls.get(name, 0) > 0 for name, had in zip(field.columns, known, strict=True)]
    return replace(field, state={**field.state, "missing": has_missing})
