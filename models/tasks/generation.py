"""Draw new images like those of the data."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evergreen.core.marks import Figure, Gallery, Image, Section, Text
from evergreen.core.png import png
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.sampling import seeded_normal

DOWN, ACROSS = 10, 8  # images of a sheet
WIDTH, GRID, NEIGHBOURS = 32, 2, 3  # channels and places of the features; neighbours that a reach goes to


class Generation(Task):
    """Draw images, given the other columns of a row if there are any, and a seed: the same seed draws the same image.

    Output (B, C, H, W), a sample, standardised as the target is; target (B, C, H, W), a real image. The architecture
    brings the loss. Samples and real images are compared as two clouds of features, by a convolutional network that was
    never trained (random features tell clouds apart well enough, and alike for every model: Naeem et al. 2020):
    `fid`, the Fréchet distance of the clouds' Gaussians (Heusel et al. 2017; here of random features, so comparable
    between models of the same pixels alone); `precision`, the share of samples that fall among real images, and
    `recall`, the share of real images that fall among samples, by 3 nearest neighbours (Kynkäänniemi et al. 2019).
    Row by row it is the energy distance (Székely and Rizzo 2013). `copying` tells whether samples repeat training rows.
    """

    TARGETS = ("image",)
    APPLICATIONS = (("new examples of a class", "seed category", ""),)
    LAYOUTS = ("target",)
    NEEDS_ONE_OF = frozenset({"seed"})
    GENERATED_INPUTS = {"seed": "seed"}
    HAS_LOSS = False
    BOOTSTRAP_METRICS = False
    METRICS = {"fid": "min", "precision": "max", "recall": "max"}

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__(target, in_features)
        # of each channel; low and high standardised
        for name, usual in {"mean": 0.0, "std": 1.0, "low": -math.inf, "high": math.inf}.items():
            value = torch.tensor(target.state.get(name, [usual])).view(-1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, F) of the samples and of the actual images."""
        return embed(output), embed(target)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return what the pair of a sample and an actual image adds to the energy distance of the two clouds."""
        across, within, real = (torch.cdist(a, b) for a, b in ((output, target), (output, output), (target, target)))
        return across.mean(1) + across.mean(0) - within.mean(1) - real.mean(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        return {
            "fid": frechet_distance(output, target),
            "precision": _fraction_within(output, target),
            "recall": _fraction_within(target, output),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Draw each pixel from a normal distribution, one for each value of the categories that are given."""
        seeds = rows["seed"] if "seed" in rows else torch.arange(len(rows["target"]))
        noise = seeded_normal(seeds, rows["target"][0].numel()).view_as(rows["target"])
        groups, group_of_row = _groups(train, rows)
        drawn = noise * train["target"].std(0) + train["target"].mean(0)
        for group in group_of_row.unique().tolist():
            own = train["target"][groups == group]
            if len(own) > 1:
                drawn[group_of_row == group] = noise[group_of_row == group] * own.std(0) + own.mean(0)
        return drawn

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return a sheet of samples, one of real images in the same order, and the samples' nearest training images."""
        samples, train = rows.output(), rows.train_target()
        chosen = _sheet_rows(rows.groups())
        near = train[nearest_images(samples[chosen], train)[1]]
        ratio = memorization_ratio(samples, rows.target, train)
        text = (
            f"Samples are {ratio:.3g} times as far from the nearest training image as real images that the model has "
            "never seen: about 1 is no copying, towards 0 they are copies."
        )
        sheets = {
            "drawn by the model": samples[chosen],
            "real images of the test rows, for the same conditions": rows.target[chosen],
            "the training image that each sample is nearest to": near,
        }
        figures = [Figure([Image(png(_sheet(x).numpy()), name)], {name: ""}) for name, x in sheets.items()]
        return Section("What it draws", [Text(text), Gallery(figures, wide=True)])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return pixels as the target's column has them: (H, W) or (H, W, C)."""
        values = output.clamp(self.low, self.high).double() * self.std + self.mean
        images = values.permute(0, 2, 3, 1)
        shape = self.target.state.get("pixels", images.shape[1:])
        return [{"prediction": image.reshape(*shape).tolist()} for image in (images * 1000).round() / 1000]


def embed(x_NCHW: Tensor) -> Tensor:
    """Return features (N, F) of images by a convolutional network with fixed random weights.

    They are the means of its channels over a grid of places, so that where things are counts as well as what there is.
    """
    draw = torch.Generator().manual_seed(0)
    x = x_NCHW.float()
    with torch.no_grad():
        for _ in range(2):
            weight = torch.randn(WIDTH, x.shape[1], 3, 3, generator=draw) / math.sqrt(9 * x.shape[1])
            x = functional.relu(functional.conv2d(x, weight.to(x.device), padding=1)) * math.sqrt(2)
        return functional.adaptive_avg_pool2d(x, GRID).flatten(1)


def frechet_distance(a_NF: Tensor, b_NF: Tensor) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two clouds of features."""
    a, b = a_NF.double(), b_NF.double()
    first, second = torch.cov(a.T), torch.cov(b.T)
    value, vector = torch.linalg.eigh(first)
    root = (vector * value.clamp_min(0).sqrt()) @ vector.T
    mixed = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * mixed)


def _fraction_within(some_NF: Tensor, cloud_MF: Tensor) -> float:
    """Return the fraction of `some` within the distance from any of the cloud to its third neighbour."""
    reach = torch.cdist(cloud_MF, cloud_MF).sort(1).values[:, min(NEIGHBOURS, len(cloud_MF) - 1)]
    return float((torch.cdist(some_NF, cloud_MF) <= reach).any(1).double().mean())


def memorization_ratio(samples: Tensor, fresh: Tensor, train: Tensor) -> float:
    """Return how near samples come to training images, divided by how near unseen real images do.

    The ratio of the median distances to the nearest. About 1: no nearer than chance; towards 0: copies (Meehan et al.
    2020).
    """
    near = [nearest_images(x, train)[0].median() for x in (samples, fresh)]
    return float(near[0] / near[1].clamp_min(1e-9))


def nearest_images(x_NCHW: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance (N,) of each image to the nearest training image, and the index (N,) of that."""
    nearest = torch.cdist(x_NCHW.flatten(1).float(), train.flatten(1).float()).min(1)
    return nearest.values, nearest.indices


def _sheet_rows(groups: list[str]) -> list[int]:
    """Choose test rows to show: a line of the sheet for each of the first groups, equally many of each."""
    lines: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        lines.setdefault(group, []).append(row)
    if len(lines) == 1:
        return list(range(min(len(groups), DOWN * ACROSS)))
    shown = [lines[group][:ACROSS] for group in sorted(lines)[:DOWN]]
    n_columns = min(map(len, shown))
    return [row for line in shown for row in line[:n_columns]]


def _sheet(x_NCHW: Tensor) -> Tensor:
    """Arrange images as one (C, …), ACROSS side by side, with dark lines between."""
    count, channels, height, width = x_NCHW.shape
    down = -(-count // ACROSS)
    sheet = x_NCHW.new_full((down * ACROSS, channels, height + 1, width + 1), float(x_NCHW.min()))
    sheet[:count, :, :-1, :-1] = x_NCHW
    lines = sheet.view(down, ACROSS, channels, height + 1, width + 1).permute(2, 0, 3, 1, 4)
    return lines.reshape(channels, down * (height + 1), ACROSS * (width + 1)).float()


def _groups(train: Batch, rows: Batch) -> tuple[Tensor, Tensor]:
    """Return a number (N,) for each row, equal where categories are equal."""
    if "category" not in train:
        return torch.zeros(len(train["target"])), torch.zeros(len(rows["target"]))
    both = torch.cat([train["category"], rows["category"]])
    _, index = both.unique(dim=0, return_inverse=True)
    first, second = index.split([len(train["target"]), len(rows["target"])])
    return first, second
