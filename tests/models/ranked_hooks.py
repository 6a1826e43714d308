"""One rank of three runs: two groups of parameters, a warm start, norms by batches; run as ranked.py is."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed

from evergreen.models.architectures.gan import GAN
from evergreen.models.base import Batch
from evergreen.models.network import Network
from evergreen.models.registry import build
from evergreen.models.sampling import seeded_normal
from evergreen.models.tasks.generation import Generation
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer
from evergreen.stages.checking.sample_inputs import INPUTS, TARGETS, rows

RANK: int = globals()["RANK"]
WORLD: int = globals()["WORLD"]
FOLDER: Path = globals()["FOLDER"]


class ByRow(GAN):
    """Draws what each row's seed says: ranks draw by lots of their own, which one process would draw otherwise."""

    def noise(self, batch: Batch) -> Tensor:
        return seeded_normal(batch["seed"], self.out_features)


def trained(network: Network, batch: dict[str, Tensor], recipe: TrainingConfig) -> dict[str, Tensor]:
    feed = TensorFeed(batch, recipe.batch_size, rank=RANK, world=WORLD)
    loop = Trainer(network, feed, batch, recipe, rank=RANK, world=WORLD)
    loop.run()
    said["epochs"] += [len(loop.history)]
    return network.state_dict()


torch.set_num_threads(1)
if WORLD > 1:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo", f"file://{FOLDER}/meeting", rank=RANK, world_size=WORLD, timeout=timedelta(seconds=60)
    )
said: dict = {"epochs": [], "history": [], "best": 0}
torch.manual_seed(3 + RANK)  # ranks start apart: rank 0's weights must win
drawer = ByRow({"seed": INPUTS["seed"]}, target=TARGETS["image"], size=0.25)
recipe = TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3, optimizer="sgd", keep="last")
gan = trained(Network(drawer, Generation(TARGETS["image"], drawer.out_features)), rows(("seed",), "image", 16), recipe)
stack = build("dbn", "classification", {"number": INPUTS["number"]}, TARGETS["category"], size=0.25)
dbn = trained(stack, rows(("number",), "category", 16), recipe)
still = TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-12, optimizer="sgd", ema=0.5, keep="last")
finder = build("unet", "detection", {"image": INPUTS["image"]}, TARGETS["boxes"], {"stride": 1}, size=0.25)
unet = trained(finder, rows(("image",), "boxes", 16), still)
runs = {"gan": gan, "dbn": dbn, "unet": unet}
tensors = {f"{run}.{name}": x for run, weights in runs.items() for name, x in weights.items()}
(FOLDER / f"{WORLD}-{RANK}").write_bytes(checkpoint.encode(tensors, said))
if WORLD > 1:
    distributed.destroy_process_group()
