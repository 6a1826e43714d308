"""How many words or letters must be changed to make one sequence of another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


def edit_distance(said: Sequence[Sequence[Hashable]], meant: Sequence[Sequence[Hashable]]) -> Tensor:
    """(N,) fewest insertions, deletions and substitutions from each of `said` to its counterpart of `meant`
    (Levenshtein 1966), computed for all pairs at once."""
    codes: dict[Hashable, int] = {}
    said_NI, lengths_N = _padded(said, codes)
    meant_NJ, ends_N = _padded(meant, codes)
    place_J = torch.arange(meant_NJ.shape[1] + 1)
    row_NJ = place_J.expand(len(said_NI), -1)  # the distance of nothing said to each beginning of what was meant
    rows = [row_NJ]
    for i in range(said_NI.shape[1]):
        change_NJ = row_NJ[:, :-1] + (meant_NJ != said_NI[:, i : i + 1])
        best_NJ = torch.cat([row_NJ[:, :1] + 1, torch.minimum(change_NJ, row_NJ[:, 1:] + 1)], 1)
        row_NJ = (best_NJ - place_J).cummin(1).values + place_J  # or what stands to the left and one inserted
        rows.append(row_NJ)
    found: Tensor = torch.stack(rows)[lengths_N, torch.arange(len(said_NI)), ends_N]
    return found


def _padded(sequences: Sequence[Sequence[Hashable]], codes: dict[Hashable, int]) -> tuple[Tensor, Tensor]:
    """(N, L) a number for each item, and the lengths (N,)."""
    numbers = [[codes.setdefault(item, len(codes)) for item in sequence] for sequence in sequences]
    longest = max(map(len, numbers), default=0)
    padded = torch.tensor([row + [-1] * (longest - len(row)) for row in numbers], dtype=torch.long)
    return padded.view(len(numbers), longest), torch.tensor([len(row) for row in numbers], dtype=torch.long)
