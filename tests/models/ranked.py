"""One rank of a run in some processes; run by test_ranks.py through runpy with RANK, WORLD and FOLDER as globals."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from evergreen.models.registry import build
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.strategy import Strategy
from evergreen.models.training.trainer import Trainer
from evergreen.models.training.weight_sharding import whole

RANK: int = globals()["RANK"]
WORLD: int = globals()["WORLD"]
FOLDER: Path = globals()["FOLDER"]
RUN: str = globals().get("RUN", f"run-{WORLD}")
STOP: int | None = globals().get("STOP")  # after so many updates
STRATEGY = Strategy(**globals().get("STRATEGY", {}))


class Field:
    """What `build` asks of a field."""

    sizes: tuple[int, ...] = ()

    def __init__(self, kind: str, shape: tuple[int, ...], state: dict) -> None:
        self.kind, self.shape, self.state = kind, shape, state


torch.set_num_threads(1)
if WORLD > 1:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo", f"file://{FOLDER}/meeting-{WORLD}-{STOP}", rank=RANK, world_size=WORLD, timeout=timedelta(seconds=60)
    )
random = torch.Generator().manual_seed(0)
x = torch.randn(112, 6, generator=random)
rows = {"number": x, "target": (x[:, 0] * x[:, 1] > 0).long()}
torch.manual_seed(3 + RANK)  # ranks start apart: rank 0's weights must win
network = build(
    "mlp",
    "classification",
    {"number": Field("number", (6,), {})},
    Field("category", (), {"values": [["no", "yes"]]}),
    dropout=0.0,
    size=0.25,
)
recipe = TrainingConfig(epochs=30, batch_size=16, accumulate=2, learning_rate=1e-2, patience=3)
places = {"rank": RANK, "world": WORLD, "folder": FOLDER / RUN, "strategy": STRATEGY}
feed = TensorFeed({k: v[:80] for k, v in rows.items()}, 16, rank=RANK, world=WORLD)
loop = Trainer(network, feed, {k: v[80:] for k, v in rows.items()}, recipe, **places)
loop.run(epochs=None if STOP else 2, steps=STOP)
if STOP is None:
    loop.run()
state = {"history": [{**record, "train_loss": 0} for record in loop.history], "best": loop.best and loop.best[0]}
(FOLDER / f"{WORLD}-{RANK}").write_bytes(
    checkpoint.encode({name: whole(one) for name, one in network.state_dict().items()}, state)
)
if WORLD > 1:
    distributed.destroy_process_group()
