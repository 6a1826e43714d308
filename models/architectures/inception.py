"""The network of parallel filters."""

import torch
from torch import Tensor, nn

from evergreen.models.base import Batch, FieldLike, Inputs, Task
from evergreen.models.vision import ImageTowers, SpatialSize, conv_norm_act, round_to_multiple

NAMED = 4  # the size that is GoogLeNet
AUXILIARY, SHARE = 1024, 0.3  # features of an auxiliary head; how much its loss counts
# widths of a block: 1×1; 1×1 before 3×3, 3×3; 1×1 before the second 3×3, it; 1×1 after the pool
BLOCKS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
HELPED = (3, 6)  # blocks before which an auxiliary head looks on


class Inception(ImageTowers):
    """GoogLeNet (Szegedy et al. 2015), with normalisation by groups (Wu and He 2018).

    Each block looks at its input with filters of several sizes side by side, narrow 1×1 convolutions before them keep
    that cheap. Where classes are predicted, GoogLeNet has two auxiliary heads half way: each has its own classifier,
    whose loss counts 0.3 in training, and neither has a part in the answer.

    size    network                       parameters at 224 px and 1000 classes
    below 4 GoogLeNet with all widths × size / 4, below 2 one block for each of its stages, no auxiliary heads
    4       GoogLeNet                     13,004,888, of which 6,379,984 are the auxiliary heads'

    In: image (B, C, H, W), below 64 px without the halving of the first layers. Out: (B, F), F = 256 · size for each
    image, a mean over all places.
    Choose it for images whose objects come in several sizes; the residual network is simpler and as good.
    At size=1: digits 0.989 (validation rows of one split, 15 epochs, augmented) in 8 s of one core.
    """

    def __init__(self, inputs: Inputs, *, size: float = 1.0, dropout: float = 0.2, target: FieldLike) -> None:
        helps = size >= NAMED and target.kind == "category" and len(inputs) == 1
        classes = target.sizes[0] if helps else 0
        towers = {name: _Tower(field, size / NAMED, classes) for name, field in inputs.items()}
        super().__init__(towers, sum(tower.out_features for tower in towers.values()), dropout)

    def forward(self, batch: Batch) -> Tensor:
        return self._compute_features(batch)[0]

    def loss(self, batch: Batch, group: str, task: Task) -> Tensor:
        """Return the task's loss, and a fraction of it for each auxiliary head."""
        features, helped = self._compute_features(batch)
        answers = [task(features), *helped]
        losses = [task.loss(answer, batch["target"]) for answer in answers]
        return losses[0] + SHARE * sum(losses[1:], torch.zeros_like(losses[0]))

    def _compute_features(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Return features (B, F), and in training the auxiliary heads' logits (B, K)."""
        outputs = [tower(batch[name]) for name, tower in self.towers.items()]
        return self.dropout(torch.cat([features for features, _ in outputs], 1)), [
            one for _, more in outputs for one in more
        ]


class _Tower(nn.Module):
    def __init__(self, field: FieldLike, share: float, classes: int) -> None:
        super().__init__()
        sides, a, b = SpatialSize(field.shape), round_to_multiple(64 * share), round_to_multiple(192 * share)
        first = (
            [conv_norm_act(field.shape[0], a, 7, sides.stride(2)), _pool(sides)]
            if sides.large
            else [conv_norm_act(field.shape[0], a)]
        )
        self.stem = nn.Sequential(*first, conv_norm_act(a, a, 1), conv_norm_act(a, b, 3), _pool(sides))
        self.blocks, self.pools, self.helpers = nn.ModuleList(), nn.ModuleDict(), nn.ModuleDict()
        inside = b
        for stage, blocks in enumerate(BLOCKS):
            if stage:
                self.pools[str(len(self.blocks))] = _pool(sides)
            for widths in blocks if share >= 0.5 else blocks[:1]:
                if classes and len(self.blocks) in HELPED:
                    self.helpers[str(len(self.blocks))] = _helper(inside, classes)
                self.blocks.append(_Block(inside, [round_to_multiple(width * share) for width in widths]))
                inside = sum(round_to_multiple(widths[place] * share) for place in (0, 2, 4, 5))
        self.out_features = inside

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        x_BCHW, helped = self.stem(x_BCHW), []
        for number, block in enumerate(self.blocks):
            if str(number) in self.pools:
                x_BCHW = self.pools[str(number)](x_BCHW)
            if self.training and str(number) in self.helpers:
                helped.append(self.helpers[str(number)](x_BCHW))
            x_BCHW = block(x_BCHW)
        return x_BCHW.mean((2, 3)), helped


class _Block(nn.Module):
    """Run 1×1, 3×3, wider and pooled paths side by side; concatenate their channels."""

    def __init__(self, inside: int, widths: list[int]) -> None:
        super().__init__()
        a, b1, b2, c1, c2, d = widths
        pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm_act(inside, d, 1))
        self.paths = nn.ModuleList(
            [
                conv_norm_act(inside, a, 1),
                nn.Sequential(conv_norm_act(inside, b1, 1), conv_norm_act(b1, b2, 3)),
                nn.Sequential(conv_norm_act(inside, c1, 1), conv_norm_act(c1, c2, 3)),
                pooled,
            ]
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([path(x_BCHW) for path in self.paths], 1)


def _pool(sides: SpatialSize) -> nn.Module:
    return nn.MaxPool2d(3, sides.stride(2), 1)


def _helper(inside: int, classes: int) -> nn.Sequential:
    """Build an auxiliary classifier: (B, inside, H, W) → (B, K)."""
    dense = [nn.Linear(2048, AUXILIARY), nn.ReLU(), nn.Dropout(0.7), nn.Linear(AUXILIARY, classes)]
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), conv_norm_act(inside, 128, 1), nn.Flatten(), *dense)
