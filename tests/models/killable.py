"""Trains to the end in `FOLDER`, however often it was killed before, and writes the weights to `RESULT`.

Run by test_resume.py through runpy, with those two as globals (FOLDER is None for a run without checkpoints).
"""

from pathlib import Path

import torch

from evergreen.models.registry import build
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer

FOLDER: Path | None = globals().get("FOLDER")
RESULT: Path = globals()["RESULT"]


class Field:
    """What `build` asks of a field."""

    sizes: tuple[int, ...] = ()

    def __init__(self, kind: str, shape: tuple[int, ...], state: dict) -> None:
        self.kind, self.shape, self.state = kind, shape, state


torch.set_num_threads(1)
random = torch.Generator().manual_seed(0)
x = torch.randn(330, 6, generator=random)
rows = {"number": x, "target": (x[:, 0] * x[:, 1] > 0).long()}
train, validation = ({name: column[part] for name, column in rows.items()} for part in (slice(250), slice(250, None)))
torch.manual_seed(3)
target = Field("category", (), {"values": [["no", "yes"]]})
network = build("mlp", "classification", {"number": Field("number", (6,), {})}, target, dropout=0.3, size=0.25)
recipe = TrainingConfig(epochs=8, batch_size=8, accumulate=2, clip=1.0, ema=0.9, seed=5, checkpoint_seconds=0)
loop = Trainer(network, TensorFeed(train, 8, seed=5), validation, recipe, folder=FOLDER)
loop.run()
block = checkpoint.encode({**network.state_dict(), **{f"best.{k}": v for k, v in loop.best_state().items()}}, {})
RESULT.write_bytes(block + repr(loop.history).encode())
