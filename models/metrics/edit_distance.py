"""Count the edits between two sequences."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


def edit_distance(predicted: Sequence[Sequence[Hashable]], actual: Sequence[Sequence[Hashable]]) -> Tensor:
    """Return (N,) the fewest insertions, deletions and substitutions between pairs of sequences.

    Levenshtein distance (1966), computed for all pairs at once.
    """
    codes: dict[Hashable, int] = {}
    predicted_NI, lengths_N = _padded(predicted, codes)
    actual_NJ, ends_N = _padded(actual, codes)
    place_J = torch.arange(actual_NJ.shape[1] + 1)
    row_NJ = place_J.expand(len(predicted_NI), -1)  # from nothing to each beginning of the actual sequence
    rows = [row_NJ]
    for i in range(predicted_NI.shape[1]):
        change_NJ = row_NJ[:, :-1] + (actual_NJ != predicted_NI[:, i : i + 1])
        best_NJ = torch.cat([row_NJ[:, :1] + 1, torch.minimum(change_NJ, row_NJ[:, 1:] + 1)], 1)
        row_NJ = (best_NJ - place_J).cummin(1).values + place_J  # or what stands to the left and one inserted
        rows.append(row_NJ)
    return torch.stack(rows)[lengths_N, torch.arange(len(predicted_NI)), ends_N]


def _padded(sequences: Sequence[Sequence[Hashable]], codes: dict[Hashable, int]) -> tuple[Tensor, Tensor]:
    """Return a number for each item (N, L), and the lengths (N,)."""
    numbers = [[codes.setdefault(item, len(codes)) for item in sequence] for sequence in sequences]
    longest = max(map(len, numbers), default=0)
    padded = torch.tensor([row + [-1] * (longest - len(row)) for row in numbers], dtype=torch.long)
    return padded.view(len(numbers), longest), torch.tensor([len(row) for row in numbers], dtype=torch.long)
