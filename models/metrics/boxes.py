"""Compare boxes on images: overlap, matching and average precision."""

import torch
from torch import Tensor


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union (…, A, B) of boxes (…, A, 4) and (…, B, 4), corners x0, y0, x1, y1."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0)
    both = sides[..., 0] * sides[..., 1]
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-12)


def match_boxes(predicted: Tensor, actual: Tensor, min_iou: float) -> Tensor:
    """Return a mask (N, M) of the predicted boxes that find an actual one.

    `predicted` (N, M, 6) is sorted by score; `actual` is (N, T, 5). A box finds the one of its class that it overlaps
    most, by `min_iou` or more, unless a box of a higher score has found that already.
    """
    shares = box_iou(predicted[..., 1:5], actual[..., 1:5])
    shares = shares * (predicted[..., 0, None] == actual[:, None, :, 0]) * (actual[:, None, :, 0] >= 0)
    free = torch.ones(actual.shape[:2], dtype=torch.bool, device=actual.device)
    is_matched = torch.zeros(predicted.shape[:2], dtype=torch.bool, device=actual.device)
    rows = torch.arange(len(predicted), device=actual.device)
    for number in range(predicted.shape[1]):
        share, which = (shares[:, number] * free).max(1)
        is_matched[:, number] = share >= min_iou
        free[rows, which] &= ~is_matched[:, number]
    return is_matched


def average_precision(boxes: Tensor, true: Tensor) -> float:
    """Return the area under precision over recall, a mean over the classes that occur.

    `boxes` (N, M, 3): class (−1 is none), score, whether it finds one; `true` (N, K): how many of each class there are.
    """
    flat = boxes.reshape(-1, 3)
    flat = flat[flat[:, 0] >= 0]
    flat = flat[flat[:, 1].argsort(descending=True, stable=True)]
    areas = []
    for kind, count in enumerate(true.sum(0).tolist()):
        if not count:
            continue
        scores = flat[flat[:, 0] == kind, 2].double()
        right = scores.cumsum(0)
        precision = right / torch.arange(1, len(scores) + 1).to(right)
        best = precision.flip(0).cummax(0).values.flip(0) if len(scores) else precision  # no worse at a lower recall
        areas.append(float((best * scores).sum() / count))
    return sum(areas) / len(areas) if areas else float("nan")
