"""Find which things lie where on an image."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evergreen.core.marks import Figure, Gallery, Section, Text
from evergreen.models.base import Batch, EvaluatedRows, FieldLike, Task
from evergreen.models.metrics.boxes import average_precision, match_boxes
from evergreen.models.tasks._pictures import ORDER, SHOWN, row_label

NEAR = 0.05  # scores below it are no boxes for any purpose
OVERLAP = 0.5  # of intersection and union, from which on a box is found
RARE = -2.19  # logit of 0.1: most places are no centre (Lin et al. 2017)


class Detection(Task):
    """Objects as points (CenterNet, Zhou et al. 2019).

    The head gives a heat map of centres for each class, and at each place the width and height of the box and the
    offset of its centre from the middle of the pixel. It needs neither anchors nor suppression of doubles: a box is
    where the heat is greater than all around it.

    Output (B, K + 4, H', W'), H' and W' the features' by `stride`; target (B, M, 5): class (−1 is none), x0, y0, x1, y1
    as shares of the image. The heat learns by the focal loss with less weight near a centre (Law and Deng 2018), sizes
    and offsets by absolute errors.

    Metrics: `map`, the area under precision over recall of boxes that overlap a true one by half, a mean over the
    classes (Everingham et al. 2010, all points); `precision`, `recall` and `f1` of the boxes that are answered, whose
    score reaches a threshold that validation rows choose.
    """

    TARGETS = ("boxes",)
    APPLICATIONS = (("counting and finding things on pictures", "image", ""),)
    LAYOUTS = ("pixels",)
    ROW_SCORE_GOAL = "max"
    METRICS = {"map": "max", "f1": "max", "precision": "max", "recall": "max"}

    threshold: Tensor

    def __init__(self, target: FieldLike, in_features: int, *, stride: int = 2, sizes: float = 0.5) -> None:
        super().__init__(target, in_features)
        self.classes: list[Any] = list(target.state["values"][0])
        self.most, self.stride, self.sizes = int(target.shape[0]), stride, sizes
        last = nn.Conv2d(in_features, len(self.classes) + 4, 1)
        self.head = nn.Sequential(nn.Conv2d(in_features, in_features, 3, padding=1), nn.ReLU(), last)
        with torch.no_grad():
            last.get_parameter("bias")[: len(self.classes)] = RARE
        self.register_buffer("threshold", torch.tensor(0.3))

    def forward(self, features: Tensor) -> Tensor:
        if self.stride > 1:
            features = functional.avg_pool2d(features, self.stride, ceil_mode=True)
        return self.head(features)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        heat, box = output[:, : len(self.classes)], output[:, len(self.classes) :]
        row, index = (target[..., 0] >= 0).nonzero(as_tuple=True)
        boxes = target[row, index]  # (n, 5): every true box of the batch
        height, width = output.shape[2:]
        true = self._heat(target, height, width)
        x, y = (boxes[:, 1] + boxes[:, 3]) / 2 * width, (boxes[:, 2] + boxes[:, 4]) / 2 * height
        i, j = x.long().clamp(max=width - 1), y.long().clamp(max=height - 1)
        true[row, boxes[:, 0].long(), j, i] = 1
        wanted = torch.stack([x - i - 0.5, y - j - 0.5, boxes[:, 3] - boxes[:, 1], boxes[:, 4] - boxes[:, 2]], 1)
        error = (_places(box[row, :, j, i]) - wanted).abs() * torch.tensor([1.0, 1.0, width, height]).to(wanted)
        n_boxes = max(1, len(boxes))
        return (_focal(heat, true) + self.sizes * error.sum()) / n_boxes

    def _heat(self, target: Tensor, height: int, width: int) -> Tensor:
        """Return a bump around each centre (B, K, H', W'), as wide as its box."""
        heat = target.new_zeros(len(target), len(self.classes), height, width)
        x, y = torch.arange(width).to(target) + 0.5, torch.arange(height).to(target) + 0.5
        for index in range(target.shape[1]):
            boxes = target[:, index]
            centre_x, centre_y = (boxes[:, 1] + boxes[:, 3]) / 2 * width, (boxes[:, 2] + boxes[:, 4]) / 2 * height
            spread_x = ((boxes[:, 3] - boxes[:, 1]) * width / 6).clamp_min(0.4)[:, None]
            spread_y = ((boxes[:, 4] - boxes[:, 2]) * height / 6).clamp_min(0.4)[:, None]
            across = (-((x - centre_x[:, None]) / spread_x).square() / 2).exp()
            down = (-((y - centre_y[:, None]) / spread_y).square() / 2).exp()
            bump = down[:, :, None] * across[:, None, :] * (boxes[:, 0] >= 0)[:, None, None]
            rows, kind = torch.arange(len(target)), boxes[:, 0].long().clamp_min(0)
            heat[rows, kind] = torch.maximum(heat[rows, kind], bump)
        return heat.clamp(max=0.99)

    def decode_boxes(self, output: Tensor) -> Tensor:
        """Return the boxes (N, M, 6) of each row by score: class, x0, y0, x1, y1 as fractions, score."""
        classes, (height, width) = len(self.classes), output.shape[2:]
        heat, box = output[:, :classes].float().sigmoid(), output[:, classes:].float()
        best, kind = heat.max(1)  # two classes are not in one place
        peak = torch.where(functional.max_pool2d(best[:, None], 3, 1, 1)[:, 0] == best, best, 0)
        score, place = peak.flatten(1).topk(min(self.most, height * width), 1)
        at = _places(box.flatten(2).gather(2, place[:, None].expand(-1, 4, -1)).transpose(1, 2))
        x = (place % width + 0.5 + at[..., 0]) / width
        y = (place // width + 0.5 + at[..., 1]) / height
        half_x, half_y = at[..., 2] / 2, at[..., 3] / 2
        corners = torch.stack([x - half_x, y - half_y, x + half_x, y + half_y], -1).clamp(0, 1)
        return torch.cat([kind.flatten(1).gather(1, place)[..., None], corners, score[..., None]], -1)

    def metric_inputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the boxes (N, M, 3) of each row, and how many boxes of each class there are (N, K).

        A box is its class (−1 is none), its score, and whether it finds an actual one.
        """
        boxes = self.decode_boxes(output)
        matched = match_boxes(boxes, target, OVERLAP)
        kind = torch.where(boxes[..., 5] >= NEAR, boxes[..., 0], -1)
        true = torch.stack([(target[..., 0] == k).sum(1) for k in range(len(self.classes))], 1)
        return torch.stack([kind, boxes[..., 5], matched.float()], -1), true

    def row_scores(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the F1 of each row alone."""
        predicted, right, true = self._answered(output, target, self.threshold)
        return torch.where(predicted + true > 0, 2 * right / (predicted + true).clamp_min(1), 1.0)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        predicted, right, true = (float(x.sum()) for x in self._answered(output, target, self.threshold))
        return {
            "map": average_precision(output, target),
            "f1": 2 * right / max(1.0, predicted + true),
            "precision": right / max(1.0, predicted),
            "recall": right / max(1.0, true),
        }

    def _answered(self, boxes: Tensor, true: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """Count for each row the boxes that are answered, the right ones of these, and the actual ones, (N,) each."""
        chosen = (boxes[..., 0] >= 0) & (boxes[..., 1] >= threshold)
        return chosen.sum(1).double(), (boxes[..., 2] * chosen).sum(1).double(), true.sum(1).double()

    def calibrate(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Choose the threshold with the best F1."""
        tried = torch.arange(0.1, 0.9, 0.05)
        predicted, right, actual_count = (torch.stack([part.sum() for part in parts]) for parts in zip(
            *(self._answered(output, target, float(one)) for one in tried), strict=True))  # fmt: skip
        return {"threshold": tried[(2 * right / (predicted + actual_count).clamp_min(1)).argmax()].to(self.threshold)}

    def baseline(self, train: Batch, rows: Batch) -> Tensor:
        """Predict the commonest class at the mean of all training boxes, on every image."""
        boxes = train["target"][train["target"][..., 0] >= 0]
        kind, mean = int(boxes[:, 0].mode().values), boxes[:, 1:].mean(0)
        x, y, side = (mean[0] + mean[2]) / 2, (mean[1] + mean[3]) / 2, 16
        output = torch.zeros(1, len(self.classes) + 4, side, side)
        output[:, : len(self.classes)] = -10.0
        output[0, kind, int(y * side), int(x * side)] = 10.0
        size = torch.stack([mean[2] - mean[0], mean[3] - mean[1]]).clamp(0.01, 0.99)
        output[0, -2:] = size.logit()[:, None, None]
        return output.expand(len(rows["target"]), -1, -1, -1)

    def pictures(self, rows: EvaluatedRows) -> Section:
        chosen = rows.spread(SHOWN)
        drawn = rows.targets(chosen, [answer["prediction"] for answer in rows.answers(chosen)])
        figures = [
            Figure([mark], row_label(row, "F1", float(rows.scores[row])))
            for row, mark in zip(chosen, drawn, strict=True)
            if mark
        ]
        about = "Dashed boxes are actual, whole ones predicted, with how sure it is; " + ORDER
        return Section("Where it sees what", [Text(about, note=True), Gallery(figures, wide=True)])

    def decode(self, output: Tensor) -> list[dict[str, Any]]:
        """Return the boxes whose score reaches the threshold, in the unit of the target's column."""
        height, width = self.target.state.get("size", (1, 1))
        scale = torch.tensor([width, height, width, height])
        return [
            {"prediction": [self._named(box, scale) for box in row if float(box[5]) >= float(self.threshold)]}
            for row in self.decode_boxes(output)
        ]

    def _named(self, box: Tensor, scale: Tensor) -> dict[str, Any]:
        corners = (box[1:5].double() * scale).mul(1000).round().div(1000).tolist()
        named = dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True))
        return {"class": self.classes[int(box[0])], **named, "score": round(float(box[5]), 4)}


def _places(box: Tensor) -> Tensor:
    """Turn raw numbers (…, 4) into offsets of the centre (−0.5 to 0.5 pixels), width and height (fractions)."""
    return torch.cat([box[..., :2].sigmoid() - 0.5, box[..., 2:].sigmoid()], -1)


def _focal(heat: Tensor, true: Tensor) -> Tensor:
    """Return the focal loss, a sum over all places; mistakes near a centre count less."""
    p, log_p, log_q = heat.sigmoid(), functional.logsigmoid(heat), functional.logsigmoid(-heat)
    centre = true == 1
    return -torch.where(centre, (1 - p).square() * log_p, p.square() * (1 - true).pow(4) * log_q).sum()
