"""Kinds of data: one file says everything about a kind of column, and its name registers it.

`data/kinds/number.py` holds the class `Number`, which follows the contract `Kind` (_kind.py).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from evergreen.core import parts
from evergreen.core.errors import DataError, suggest
from evergreen.data.field import TensorField
from evergreen.data.kinds._kind import Kind as Kind


def names() -> list[str]:
    """Return the names of all kinds: the files of this folder, and those of the project's `data/kinds/`."""
    return parts.names("kinds")


def find(name: str) -> Kind:
    """Return the kind of that name. Raises DataError with the nearest right word if there is none."""
    if not parts.is_known("kinds", name):
        raise DataError(f"there is no kind of data called '{name}'", fix=suggest(name, names()))
    return _instance(parts.find("kinds", name, Kind))  # type: ignore[arg-type]


@cache
def _instance(kind: Any) -> Kind:
    instance: Kind = kind()
    return instance


def check_options(kind: str, options: Mapping[str, Any], column: str) -> None:
    """Raise DataError for an option that the kind does not have."""
    for name in options:
        if name not in find(kind).OPTIONS:
            fix = suggest(name, find(kind).OPTIONS)
            raise DataError(f"{kind} has no option '{name}'", place=f"preprocess.kinds.{column}", fix=fix)


def kind_of(field: TensorField, index: int = 0) -> Kind:
    """Return the kind that encodes a field, with the options that its column `index` is read with."""
    kind = find(field.encoder or field.kind)
    state = (
        {name: field.state[name][index] for name in kind.OPTIONS if name in field.state}
        if kind.grouped
        else field.state
    )
    return kind.with_options(state)
