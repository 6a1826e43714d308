"""Turn the answers of a model into columns of a table."""

from typing import Any

import pyarrow as pa


def answer_columns(answers: list[dict[str, Any]]) -> dict[str, pa.Array]:
    """Turn answers into columns: `prediction`, the bounds of an interval, one `p_<class>` for each probability."""
    columns: dict[str, pa.Array] = {}
    for name in answers[0]:
        values = [answer[name] for answer in answers]
        if name == "probabilities":
            columns |= {f"p_{one}": pa.array([value[one] for value in values], pa.float64()) for one in values[0]}
        else:
            columns[name] = pa.array(values)
    return columns
