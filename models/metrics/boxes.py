"""Boxes on images: how much two overlap, which finds which, and how good all are together."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """(…, A, B) intersection over union of boxes (…, A, 4) and (…, B, 4) with corners x0, y0, x1, y1."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0)
    both = sides[..., 0] * sides[..., 1]
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-12)


def match_boxes(said: Tensor, true: Tensor, least: float) -> Tensor:
    """(N, M) whether each box said (N, M, 6), the surest first, finds a true one (N, T, 5) of its class that no surer
    box has found: the one that it overlaps most, by `least` or more."""
    shares = box_iou(said[..., 1:5], true[..., 1:5])
    shares = shares * (said[..., 0, None] == true[:, None, :, 0]) * (true[:, None, :, 0] >= 0)
    free = torch.ones(true.shape[:2], dtype=torch.bool, device=true.device)
    found = torch.zeros(said.shape[:2], dtype=torch.bool, device=true.device)
    rows = torch.arange(len(said), device=true.device)
    for number in range(said.shape[1]):
        share, which = (shares[:, number] * free).max(1)
        found[:, number] = share >= least
        free[rows, which] &= ~found[:, number]
    return found


def average_precision(boxes: Tensor, true: Tensor) -> float:
    """The area under precision over recall, a mean over the classes that occur.

    `boxes` (N, M, 3): class (−1 is none), score, found; `true` (N, K): how many of each class there are.
    """
    flat = boxes.reshape(-1, 3)
    flat = flat[flat[:, 0] >= 0]
    flat = flat[flat[:, 1].argsort(descending=True, stable=True)]
    areas = []
    for kind, count in enumerate(true.sum(0).tolist()):
        if not count:
            continue
        found = flat[flat[:, 0] == kind, 2].double()
        right = found.cumsum(0)
        precision = right / torch.arange(1, len(found) + 1).to(right)
        best = precision.flip(0).cummax(0).values.flip(0) if len(found) else precision  # no worse at a lower recall
        areas.append(float((best * found).sum() / count))
    return sum(areas) / len(areas) if areas else float("nan")
