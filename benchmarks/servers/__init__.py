"""The model of a benchmark behind the servers of other projects: the same checks and the same work for each row.

Each runs in the environment that benchmarks/opponents.py makes; MODEL and PORT in the environment say what and where.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

MAX_BATCH_ROWS = 64  # as Evergreen's by default
PORT = int(os.environ.get("PORT", 0))


@cache
def load() -> Any:
    import torch

    from evergreen.stages.artifacts import load_model

    torch.set_num_threads(1)
    return load_model(Path(os.environ["MODEL"]))


def answer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Check rows as requests have them, and answer each."""
    model = load()
    answers: list[dict[str, Any]] = model.predict(model.spec.parse_request(rows, "rows"))
    return answers
