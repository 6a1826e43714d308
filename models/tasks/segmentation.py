"""Predict which class each pixel belongs to."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.marks import ClassColors, Figure, Gallery, MaskedImage, Section, Text
from evergreen.core.png import mask_png
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.tasks._pictures import ORDER, SHOWN, row_label

IGNORED = -100  # a pixel without a label


class Segmentation(Task):
    """Softmax over K classes at every pixel, by cross-entropy (Long et al. 2015).

    `dice` times the Dice loss of the shares is added (Milletari et al. 2016). Output (B, K, H, W) logits, target
    (B, H, W) class indices, −100 where unlabelled.

    Metrics: `miou`, the intersection of said and true pixels over their union, each over all rows, a mean over the
    classes that occur (Everingham et al. 2015); `dice`, twice the intersection over the sum, likewise; `accuracy`, the
    share of pixels that are right.
    """

    TARGETS = ("mask",)
    APPLICATIONS = (("medical images: where is it?", "image", ""),)
    LAYOUTS = ("pixels",)
    ROW_SCORE_GOAL = "max"
    METRICS = {"miou": "max", "dice": "max", "accuracy": "max"}

    def __init__(self, target: FieldLike, in_features: int, *, dice: float = 1.0) -> None:
        super().__init__(target, in_features)
        self.classes: list[Any] = list(target.state["values"][0])
        self.dice = dice
        self.head = nn.Conv2d(in_features, len(self.classes), 1)

    def forward(self, features: Tensor) -> Tensor:
        logits_BKHW = self.head(features)
        size = tuple(self.target.shape)
        if tuple(logits_BKHW.shape[2:]) == size:
            return logits_BKHW
        return functional.interpolate(logits_BKHW, size, mode="bilinear", align_corners=False)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        loss = functional.cross_entropy(output, target, ignore_index=IGNORED)
        return loss + self.dice * self._dice_loss(output, target) if self.dice else loss

    def _dice_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return 1 − the Dice coefficient of shares and truth, a mean over the classes of each row, then over rows."""
        predicted, true = output.softmax(1) * (target != IGNORED)[:, None], self._one_hot(target)
        both, sums = (predicted * true).sum((2, 3)), predicted.sum((2, 3)) + true.sum((2, 3))
        occurs_BK = true.sum((2, 3)) > 0
        lost_BK = (1 - 2 * both / sums.clamp_min(1)) * occurs_BK
        return (lost_BK.sum(1) / occurs_BK.sum(1).clamp_min(1)).mean()

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each row and class the pixels predicted (N, K), actual and rightly predicted (N, 2K)."""
        true = self._one_hot(target)
        predicted = self._one_hot(torch.where(target == IGNORED, IGNORED, output.argmax(1)))
        counts = [x.sum((2, 3)) for x in (predicted, true, predicted * true)]
        return counts[0], torch.cat(counts[1:], 1)

    def _one_hot(self, target: Tensor) -> Tensor:
        """Return one-hot classes (B, K, H, W), zeros where unlabelled."""
        return torch.stack([target == k for k in range(len(self.classes))], 1).float()

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean intersection over union of each row alone."""
        true, both = target.double().chunk(2, 1)
        union = output.double() + true - both
        occurs = union > 0
        return (both / union.clamp_min(1)).sum(1) / occurs.sum(1).clamp_min(1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        predicted, (true, both) = output.double().sum(0), target.double().sum(0).chunk(2)
        occurs, union = predicted + true > 0, predicted + true - both
        return {
            "miou": float((both / union.clamp_min(1))[occurs].mean()),
            "dice": float((2 * both / (predicted + true).clamp_min(1))[occurs].mean()),
            "accuracy": float(both.sum() / true.sum().clamp_min(1)),
        }

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Return how often each class lies at each place of the training masks: it predicts the commonest there."""
        count_1KHW = self._one_hot(train["target"]).sum(0, keepdim=True)
        share_1KHW = (count_1KHW + 1e-3) / (count_1KHW + 1e-3).sum(1, keepdim=True)
        return share_1KHW.log().expand(len(rows["target"]), -1, -1, -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        """Return images, their actual masks and the predicted ones."""
        chosen = rows.spread(SHOWN)
        predicted = rows.output(chosen).argmax(1).cpu().numpy()
        figures = []
        triples = zip(chosen, rows.inputs(chosen), rows.targets(chosen), predicted, strict=True)
        for row, given, actual, classes in triples:
            if isinstance(actual, MaskedImage):
                guess = replace(actual, mask=mask_png(classes), title="predicted")
                label = row_label(row, "intersection over union", float(rows.scores[row]))
                figures.append(Figure([given[0], actual, guess], label))
        about = Text("The image, the actual mask, the predicted one; " + ORDER, note=True)
        key = ClassColors([str(name) for name in self.classes])
        return Section("Which pixels it takes for what", [about, key, Gallery(figures, wide=True)])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return the class of each pixel, and the fraction of the pixels that each class has."""
        said_NHW = output.argmax(1)
        answers = []
        for row_HW in said_NHW:
            counts = torch.bincount(row_HW.flatten(), minlength=len(self.classes)) / row_HW.numel()
            shares = {str(name): share for name, share in zip(self.classes, counts.tolist(), strict=True) if share}
            answers.append(
                {"prediction": [[self.classes[k] for k in line] for line in row_HW.tolist()], "shares": shares}
            )
        return answers
