"""Fit the fields of inputs and target on checked training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import kinds
from evergreen.data.arrow import combine_chunks
from evergreen.data.field import TensorField
from evergreen.data.kinds._transform import apply_transform


def fit(
    train: pa.Table,
    kind_of: Mapping[str, str],
    target: str,
    target_kind: str,
    transform: str = "",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, TensorField], TensorField]:
    """Fit the fields of checked training rows: one per grouped kind, one per column of other kinds, and the target's.

    `transform` applies to the target, and to the history that it continues. `options` are those of the kinds, by
    column.
    """
    options, of_inputs = options or {}, transform if kinds.find(target_kind).SPANS_ROWS else ""
    inputs = fit_inputs(train, kind_of, of_inputs, options)
    return inputs, fit_target(train, target, target_kind, transform, options.get(target, {}))


def fit_inputs(
    train: pa.Table, kind_of: Mapping[str, str], transform: str, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, TensorField]:
    """Fit the fields of the inputs; `transform` applies to windows of a series."""
    groups: dict[str, list[str]] = {}
    together = {"target", *(kind for kind in kind_of.values() if kinds.find(kind).grouped)}
    for column, kind in kind_of.items():
        alone = f"{column}_" if column in together else column  # a text may be called "number"
        groups.setdefault(kind if kind in together else alone, []).append(column)
    options_of = {key: [options.get(column, {}) for column in columns] for key, columns in groups.items()}
    kind_of_key = {key: kind_of[columns[0]] for key, columns in groups.items()}
    warp_of = {key: transform if kinds.find(kind).SPANS_ROWS else "" for key, kind in kind_of_key.items()}
    return {
        key: _fit(kind_of_key[key], train, columns, warp_of[key], options_of[key]) for key, columns in groups.items()
    }


def fit_target(train: pa.Table, target: str, kind: str, transform: str, options: Mapping[str, Any]) -> TensorField:
    """Fit the field of the target."""
    return _fit(kind, train, [target], transform, [options], target=True)


def _fit(
    kind: str,
    train: pa.Table,
    names: Sequence[str],
    transform: str,
    options: Sequence[Mapping[str, Any]],
    *,
    target: bool = False,
) -> TensorField:
    columns = {name: apply_transform(take_column(train, name), transform, f"column '{name}'") for name in names}
    field = kinds.find(kind).fit(columns, target=target, **_options_of(kind, names, options))
    return replace(field, state={**field.state, "transform": transform}) if transform else field


def _options_of(kind: str, names: Sequence[str], options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of a field's columns as `fit` takes them. Raises DataError for an unknown option."""
    known, grouped = kinds.find(kind).OPTIONS, kinds.find(kind).grouped
    for column, column_options in zip(names, options, strict=True):
        kinds.check_options(kind, column_options, column)
    if not grouped:
        return dict(options[0])
    return {
        name: [said.get(name, known[name]) for said in options] for name in known if any(name in x for x in options)
    }


def take_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column as one array. Raises DataError where there is none of that name."""
    try:
        return combine_chunks(table.column(name))
    except KeyError as error:  # asking first would cost a request of many columns more than the rest of it
        raise DataError(f"there is no column '{name}'", fix=suggest(name, table.column_names)) from error
