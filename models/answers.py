"""Hold the answers to rows as columns, and turn them into one object a row where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    from torch import Tensor

    from evergreen.models.base import Batch, Task
    from evergreen.models.network import Network

Objects = list[dict[str, Any]]  # one a row


class Named(NamedTuple):
    """Several values a row, each with a name: probabilities, quantiles."""

    names: list[str]
    values: Tensor  # (N, names, …)


class Chosen(NamedTuple):
    """One of several values a row, such as its class."""

    values: list[Any]
    places: Tensor  # (N,)


Columns = Mapping[str, "Tensor | list[Any] | Chosen | Named"]  # name → N values
HOOKS = {"predict", "decode", "decode_columns"}  # of a task; the class that has one at last says how answers look


def to_objects(columns: Columns) -> Objects:
    """Return columns as one object a row, with plain values as JSON has them."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*map(_to_list, columns.values()), strict=True)]


@overload
def mark_abstentions(answers: Objects, least: float) -> Objects: ...
@overload
def mark_abstentions(answers: Columns | Objects, least: float) -> Columns | Objects: ...
def mark_abstentions(answers: Columns | Objects, least: float) -> Columns | Objects:
    """Say of each answer of one class whether it `abstains`: its highest probability is below `least`, if that is any.

    The class stays the answer: who takes it all the same may (Chow 1970).
    """
    if not least:
        return answers
    if isinstance(answers, list):
        return [one | {"abstains": max(one["probabilities"].values()) < least} for one in answers]
    probabilities = answers["probabilities"]
    assert isinstance(probabilities, Named)
    return {**answers, "abstains": probabilities.values.amax(1) < least}


def answer_in_columns(network: Network, rows: Batch) -> Columns | Objects:
    """Return the task's answers to rows, in columns where it gives them; the network has to be in evaluation mode."""
    return network.task.decode_columns(network(rows)) if has_columns(network.task) else network.predict(rows)


def has_columns(task: Task) -> bool:
    """Tell whether a task gives its answers in columns."""
    definer = next(one for one in type(task).__mro__ if HOOKS & vars(one).keys())  # its word about answers is the last
    return "decode_columns" in vars(definer)


def _to_list(column: Tensor | list[Any] | Chosen | Named) -> list[Any]:
    if isinstance(column, Named):
        return [dict(zip(column.names, row, strict=True)) for row in column.values.tolist()]
    if isinstance(column, Chosen):
        return [column.values[place] for place in column.places.tolist()]
    values: list[Any] = column if isinstance(column, list) else column.tolist()
    return values
