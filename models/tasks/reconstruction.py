"""Restore an image that was degraded."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.errors import ModelError, suggest
from evergreen.core.marks import Figure, Gallery, Image, Section, Text
from evergreen.core.png import png
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.tasks._pictures import ORDER, SHOWN, row_label

DISTANCES = {"squared": functional.mse_loss, "absolute": functional.l1_loss}
WINDOW, SPREAD = 11, 1.5  # pixels: the window of SSIM and the deviation of its weights


class Reconstruction(Task):
    """The image behind a noisy or a smaller one, by least squares on the standardized pixels.

    Denoising: Vincent et al. 2010; super-resolution: Dong et al. 2014. Output (B, C, H, W), target (B, C, H, W).

    Features that are pixels are brought to the target's size and mapped to its channels; an architecture that makes
    the image itself is taken at its word. `loss`: "squared" is best for PSNR, "absolute" keeps edges sharper.
    Metrics: `psnr`, the peak signal-to-noise ratio of the mean squared error of all pixels in dB, where the peak is the
    range of the target's values; `ssim`, the structural similarity (Wang et al. 2004), a mean over the images.
    """

    TARGETS = ("image",)
    APPLICATIONS = (("sharper, cleaner pictures", "image", ""),)
    LAYOUTS = ("target", "pixels")
    NEEDS_ONE_OF = frozenset({"image"})
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    METRICS = {"psnr": "max", "ssim": "max"}

    def __init__(
        self,
        target: FieldLike,
        in_features: int,
        *,
        layout: str = "pixels",
        loss: Literal["squared", "absolute"] = "squared",
    ) -> None:
        super().__init__(target, in_features)
        if loss not in DISTANCES:
            raise ModelError(f"{loss!r} is not a valid loss", place="task", fix=suggest(loss, DISTANCES))
        self.distance = DISTANCES[loss]
        for name in ("mean", "std", "low", "high"):  # of each channel; the ends of its range are standardised
            self.register_buffer(name, torch.tensor(target.state[name]).view(-1, 1, 1), persistent=False)
        self.head = nn.Conv2d(in_features, target.shape[0], 3, padding=1) if layout == "pixels" else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        return self.head(_sized(features, self.target.shape[1:]))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return self.distance(output, target)

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean squared error (N,) as a fraction of the squared peak, and the SSIM (N,)."""
        predicted, true = self._pixels(output), self._pixels(target)
        return (predicted - true).square().flatten(1).mean(1), ssim(predicted, true)

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error of the pixels, as a fraction of the squared peak."""
        return output

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        error = output.double().mean().clamp_min(1e-10)
        return {"psnr": float(-10 * error.log10()), "ssim": float(target.double().mean())}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Enlarge the given image by bicubic interpolation; scale and offset are fitted to training rows."""
        name, first = next((name, x) for name, x in train.items() if name != "target" and x.ndim == 4)
        x, y = self._enlarged(first), train["target"]
        centre = x.mean((0, 2, 3), keepdim=True), y.mean((0, 2, 3), keepdim=True)
        slope = ((x - centre[0]) * (y - centre[1])).sum((0, 2, 3), keepdim=True)
        slope = slope / (x - centre[0]).square().sum((0, 2, 3), keepdim=True).clamp_min(1e-9)
        return (self._enlarged(rows[name]) - centre[0]) * slope + centre[1]

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return images as given, where they are, as predicted, and as they are."""
        chosen = rows.spread(SHOWN)
        figures, names = [], ["given", "predicted", "actual"]
        for row, given, predicted, true in zip(
            chosen, rows.inputs(chosen), rows.output(chosen), rows.target[chosen], strict=True
        ):
            ends = float(true.min()), float(true.max())
            pair = ((predicted, "predicted"), (true, "actual"))
            images = [Image(png(x.float().clamp(*ends).numpy()), name) for x, name in pair]
            noise = -10 * math.log10(max(float(rows.scores[row]), 1e-10))
            figures.append(Figure([*given[:1], *images], row_label(row, "PSNR", f"{noise:.1f} dB")))
        order = ", ".join(names[-len(figures[0].marks) :])
        return Section("What it makes of an image", [Text(f"{order}; {ORDER}", note=True), Gallery(figures, wide=True)])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return pixels as the target's column has them, within its range: (H, W) or (H, W, C)."""
        units = output.float().clamp(self.low, self.high).double() * self.std + self.mean
        images = units.permute(0, 2, 3, 1)
        shape = self.target.state.get("pixels", images.shape[1:])
        return [{"prediction": image.reshape(*shape).tolist()} for image in (images * 1000).round() / 1000]

    def _pixels(self, x_BCHW: Tensor) -> Tensor:
        """Return standardized pixels as fractions of the range, clipped to it."""
        return ((x_BCHW.float() - self.low) / (self.high - self.low)).clamp(0, 1)

    def _enlarged(self, x_BCHW: Tensor) -> Tensor:
        """Resize to the target's size and number of channels."""
        channels = self.target.shape[0]
        x_BCHW = x_BCHW if x_BCHW.shape[1] == channels else x_BCHW.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        return _sized(x_BCHW, self.target.shape[1:], "bicubic")


def _sized(x_BCHW: Tensor, size: tuple[int, ...], mode: str = "bilinear") -> Tensor:
    if tuple(x_BCHW.shape[2:]) == tuple(size):
        return x_BCHW
    return functional.interpolate(x_BCHW, size, mode=mode, align_corners=False)


def ssim(said_NCHW: Tensor, true_NCHW: Tensor) -> Tensor:
    """Return the structural similarity (N,) of images in 0…1, over windows with Gaussian weights."""
    channels, side = said_NCHW.shape[1], min(WINDOW, *said_NCHW.shape[2:])
    place = torch.arange(side, dtype=said_NCHW.dtype, device=said_NCHW.device) - (side - 1) / 2
    weight = torch.softmax(-place.square() / (2 * SPREAD**2), 0)
    window = torch.outer(weight, weight).expand(channels, 1, side, side)

    def mean(x: Tensor) -> Tensor:
        return functional.conv2d(x, window, groups=channels)

    a, b = mean(said_NCHW), mean(true_NCHW)
    aa, bb, ab = mean(said_NCHW.square()) - a * a, mean(true_NCHW.square()) - b * b, mean(said_NCHW * true_NCHW) - a * b
    low, high = 0.01**2, 0.03**2  # keep flat windows from dividing by nothing
    index = (2 * a * b + low) * (2 * ab + high) / ((a * a + b * b + low) * (aa + bb + high))
    return index.flatten(1).mean(1)
