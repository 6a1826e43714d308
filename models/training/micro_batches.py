"""Compute a batch in pieces where memory does not hold its activations; the gradient stays that of the whole."""

import torch
from torch import Tensor

from evergreen.core.errors import ModelError

FEWEST = 2  # rows of a piece: a batch norm needs two


def split(parts: list[dict[str, Tensor]], rows: int) -> list[dict[str, Tensor]]:
    """Split each part into pieces of about equal length, of at most `rows` rows if they can be; 0 leaves it whole."""
    if not rows:
        return parts
    pieces = []
    for part in parts:
        count = part["target"].shape[0]
        number = max(1, min(-(-count // rows), count // FEWEST))
        columns = {name: column.tensor_split(number) for name, column in part.items()}
        pieces += [{name: columns[name][index] for name in columns} for index in range(number)]
    return pieces


def halve(parts: list[dict[str, Tensor]], rows: int, world: int) -> int:
    """Return half of the rows that are computed at once.

    Raises ModelError where too few are left; and where others compute too, for they wait at another place.
    """
    most = max(part["target"].shape[0] for part in parts)
    half = min(rows or most, most) // 2
    if half < FEWEST or world > 1:
        fix = f"set grad_accumulation to {2 * len(parts)} and halve batch_size, or take a smaller network"
        raise ModelError(f"memory does not hold {2 * half or 1} rows at once", place="train", fix=fix)
    return half


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether PyTorch ran out of memory: on the CPU only the error's words say so."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
