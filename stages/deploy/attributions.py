"""Say what of a row speaks for its answer: how much each column, or each cell of a lone array, adds to it.

Of several columns these are Shapley values over orders of the columns (Štrumbelj and Kononenko 2014; each order comes
with its reverse, Mitchell et al. 2022): a column adds what the answer changes by where its value becomes known, in the
mean over the orders. Without its value a column is missing, as `null` in a request is. In every order the sum is the
difference between the row and one of which nothing is known; of a linear model every order says the same, so the values
are exact. Of one column of numbers in an array, such as a picture, they are integrated gradients (Sundararajan et al.
2017) on the straight way from the training rows' mean.

What is added to: the answer's logit less the mean of the others', of two classes the log-odds; or the number itself.
"""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from evergreen.models.answers import Named, has_columns
from evergreen.models.network import Network
from evergreen.stages.deploy.request_body import RequestError

if TYPE_CHECKING:
    from evergreen.models.answers import Columns, Objects
    from evergreen.stages.deploy.loaded_version import LoadedVersion

N_ORDERS = 16  # of columns, half of them the reverses of the others
N_STEPS = 32  # on the way from the mean
MAX_PASSES = 20_000  # rows through the network for one request
MAX_CELLS = 2**14  # of an array
TINY = 1e-30  # below it a probability is as good as none


async def explain_beside(executor: Executor, *what: Any) -> Objects:
    """Do as `explain`, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(executor, explain, *what)


def explain(answers: Objects, served: LoadedVersion, table: pa.Table) -> Objects:
    """Return the answers to the rows of `table`, each with its `explanation`: an object, or why there is none.

    Raises RequestError (400) for more rows than are cheap.
    """
    if reason := find_obstacle(served):
        return [one | {"explanation": f"not available: {reason}"} for one in answers]
    n_passes = N_STEPS if _is_lone_array(served) else N_ORDERS * (len(served.model.spec.columns) + 1)
    if (most := max(1, MAX_PASSES // n_passes)) < len(answers):
        raise RequestError(400, f"{len(answers)} rows are too many to explain", fix=f"send at most {most}")
    explain_row = _explain_cells if _is_lone_array(served) else _explain_columns
    return [
        one | {"explanation": explain_row(served, table.slice(row, 1), one["prediction"])}
        for row, one in enumerate(answers)
    ]


def find_obstacle(served: LoadedVersion) -> str:
    """Return why answers of a version cannot be explained, or ""."""
    from evergreen.data.kinds import kind_of

    spec = served.model.spec
    if not (_has_class(served) or isinstance(served.example_answer.get("prediction"), float)):
        return f"{served.model.card['task']} answers with neither one class nor one number"
    if not has_columns(served.model.network.task):
        return f"{served.model.card['task']} gives no answers in columns"
    if _is_lone_array(served):
        (field,) = spec.inputs.values()
        return "" if math.prod(field.shape) <= MAX_CELLS else f"{spec.columns[0]} has more than {MAX_CELLS:,} cells"
    if len(spec.columns) == 1:
        return f"{spec.columns[0]} is all that the model reads"
    fields = [(field, index, name) for field in spec.inputs.values() for index, name in enumerate(field.columns)]
    whole = [name for field, index, name in fields if not kind_of(field, index).ALLOWS_MISSING]
    return f"{whole[0]} cannot be missing" if whole else ""


def _has_class(served: LoadedVersion) -> bool:
    from evergreen.data.kinds import kind_of

    return served.model.network.task.HAS_PROBABILITIES and kind_of(served.model.spec.target).HAS_CLASSES


def _is_lone_array(served: LoadedVersion) -> bool:
    inputs = [*served.model.spec.inputs.values()]
    return len(served.model.spec.columns) == 1 and len(inputs[0].shape) > 1 and inputs[0].dtype == "float32"


def _explain_columns(served: LoadedVersion, row: pa.Table, answer: Any) -> dict[str, Any]:
    names = served.model.spec.columns
    random = np.random.default_rng(0)
    orders = [random.permutation(len(names)) for _ in range(N_ORDERS // 2)]
    orders += [order[::-1] for order in orders]
    # Of each order a row of which nothing is known, then one more column at a time.
    rank_PC = np.argsort(orders, axis=1)
    known_SC = (rank_PC[:, None] < np.arange(len(names) + 1)[:, None]).reshape(-1, len(names))
    repeated = row.take(pa.array(np.zeros(len(known_SC), int)))
    columns = {
        name: pa.chunked_array([_mask(repeated[name].combine_chunks(), known_SC[:, place])])
        for place, name in enumerate(names)
    }
    parts = served.model.answer(pa.table(columns)).parts
    scores = np.concatenate([_score(part, answer).numpy() for part in parts]).reshape(len(orders), -1)
    added_PC = np.take_along_axis(np.diff(scores, axis=1), rank_PC, axis=1)
    shares = dict(zip(names, added_PC.mean(axis=0).tolist(), strict=True))
    return {"of": _name_score(served, answer), "without": float(scores[0, 0]), "columns": shares}


def _mask(values: pa.Array, known: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(known), values, pa.scalar(None, values.type))


def _explain_cells(served: LoadedVersion, row: pa.Table, answer: Any) -> dict[str, Any]:
    network, spec = served.model.network, served.model.spec
    ((name, array),) = spec.encode(row, target=False).items()
    x = torch.as_tensor(array)
    steps = (torch.arange(N_STEPS) + 0.5) / N_STEPS
    with torch.enable_grad():
        way = (steps.reshape(-1, *[1] * (x.ndim - 1)) * x).requires_grad_()
        score = _score(network.task.decode_columns(Network.forward(network, {name: way})), answer)
        (gradient,) = torch.autograd.grad(score.sum(), way)
    with torch.inference_mode():
        nothing = Network.forward(network, {name: torch.zeros_like(x)})
        without = float(_score(network.task.decode_columns(nothing), answer)[0])
    cells = x[0] * gradient.mean(0)
    cells = cells.sum(0) if cells.ndim > 2 else cells  # of all colours of a pixel
    return {"of": _name_score(served, answer), "without": without, "cells": {spec.columns[0]: cells.tolist()}}


def _score(columns: Columns | Objects, answer: Any) -> Tensor:
    """Return what is explained of some rows' answers (N,): how far the log of its probability is above the others'."""
    assert not isinstance(columns, list)
    probabilities = columns.get("probabilities")
    if not isinstance(probabilities, Named):
        number = columns["prediction"]
        assert isinstance(number, Tensor)
        return number.double()
    log_NK = probabilities.values.double().clamp_min(TINY).log()
    own_N = log_NK[:, probabilities.names.index(str(answer).lower() if isinstance(answer, bool) else str(answer))]
    return own_N - (log_NK.sum(1) - own_N) / (log_NK.shape[1] - 1)


def _name_score(served: LoadedVersion, answer: Any) -> str:
    if not _has_class(served):
        return served.model.spec.target_name
    return f"{'log-odds' if len(served.example_answer['probabilities']) == 2 else 'logit'} of {answer}"
