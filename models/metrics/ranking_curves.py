"""Compute areas under curves of scores that rank the positive rows above the others."""

import torch
from torch import Tensor


def roc_auc_and_average_precision(score_NK: Tensor, positive_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Return areas under the ROC curves (K,) and average precisions (K,), float64; nan with one class alone.

    The first is the Mann-Whitney statistic, ties counted half (Hanley and McNeil 1982). The second is the mean of the
    precision at each positive row, tied rows taken together (Manning, Raghavan and Schütze 2008, section 8.4).
    """
    rows = score_NK.shape[0]
    score, order = score_NK.sort(0, descending=True)
    hit = positive_NK.gather(0, order).double()
    first, last = _ties(score)
    n_positive = hit.cumsum(0)  # positives down to each place
    count = n_positive[-1]
    place = torch.arange(1, rows + 1, device=score.device, dtype=torch.float64)[:, None]
    precision = (n_positive / place).gather(0, last)
    rank = rows + 1 - (first + last + 2) / 2  # from the bottom, the mean of tied places
    area = ((hit * rank).sum(0) - count * (count + 1) / 2) / (count * (rows - count))
    both = (count > 0) & (count < rows)
    return area.where(both, torch.nan), ((hit * precision).sum(0) / count).where(both, torch.nan)


def _ties(score: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last place (N, K) of the tied run that each place of a sorted column is in."""
    place = torch.arange(score.shape[0], device=score.device)[:, None].expand_as(score)
    step = score[1:] != score[:-1]
    edge = torch.ones_like(score[:1], dtype=torch.bool)
    first = place.where(torch.cat([edge, step]), 0).cummax(0).values
    last = place.where(torch.cat([step, edge]), score.shape[0]).flip(0).cummin(0).values.flip(0)
    return first, last


def nanmean(values: Tensor) -> float:
    """Return the mean of the values that are numbers, nan where none is."""
    return float(values.nanmean())
