"""Samples beside real images, and beside the training images that they are nearest to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from evergreen.stages.drawing.markup import note, paragraph
from evergreen.stages.drawing.pictures import image, number_text

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "What it draws"
ROWS, ACROSS = 10, 8  # of a sheet


def draw(evidence: Evidence) -> str:
    """A sheet of samples, one of real test images in the same order, and the samples' nearest training images."""
    from evergreen.models.tasks.generation import memorization_ratio, nearest_images

    samples, real = evidence.candidate.output(), evidence.candidate.target
    train = torch.as_tensor(evidence.train["target"])
    chosen = _chosen(evidence)
    near = train[nearest_images(samples[chosen], train)[1]]
    ratio = memorization_ratio(samples, real, train)
    said = (
        f"Samples are {number_text(ratio)} times as far from the nearest training image as real images are that it has "
        "never seen: about 1 is no copying, towards 0 they are copies."
    )
    sheets = {
        "drawn by the model": samples[chosen],
        "real images of the test rows, for the same conditions": real[chosen],
        "the training image that each sample is nearest to": near,
    }
    drawn = [f"<figure>{image(_sheet(x.numpy()), name)}{note(name)}</figure>" for name, x in sheets.items()]
    return paragraph(said) + f'<div class="wrong-ones wide">{"".join(drawn)}</div>'


def _chosen(evidence: Evidence) -> torch.Tensor:
    """Test rows to show: a line of the sheet for each value of the first category, where there is one."""
    spec = evidence.model.spec
    if "category" not in spec.inputs:
        return torch.arange(min(evidence.rows, ROWS * ACROSS))
    values = np.asarray(evidence.table.column(spec.inputs["category"].columns[0]).to_pylist(), dtype=object)
    lines = [np.flatnonzero(values == value)[:ACROSS] for value in spec.inputs["category"].state["values"][0][:ROWS]]
    least = min((len(line) for line in lines if len(line)), default=0)
    return torch.as_tensor(np.concatenate([line[:least] for line in lines]))


def _sheet(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as one picture (C, …), `ACROSS` side by side, with dark lines between."""
    count, channels, height, width = images.shape
    down = -(-count // ACROSS)
    sheet = np.full((down * ACROSS, channels, height + 1, width + 1), images.min(), images.dtype)
    sheet[:count, :, :-1, :-1] = images
    lines = sheet.reshape(down, ACROSS, channels, height + 1, width + 1).transpose(2, 0, 3, 1, 4)
    return lines.reshape(channels, down * (height + 1), ACROSS * (width + 1))
