"""Measure training on a GPU against a bare torch loop and the implementation that most people use.

The decoder at GPT-2's size and the ResNet-50, in bfloat16 with torch.compile: tokens/s or images/s, and the fraction
of the measured speed of matrix products.

`python -m benchmarks.gpu`. Without a GPU it says so and runs tiny sizes on the CPU: that the commands work is all that
this shows, its figures are no measurements.
"""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import SMALL
from evergreen.data.field import TensorField
from evergreen.models.network import Network
from evergreen.models.registry import build
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer

GPU = torch.cuda.is_available()
BIG = GPU and not SMALL
DEVICE = torch.device("cuda" if GPU else "cpu")
STEPS, EPOCHS = (20, 4) if BIG else (2, 2)  # steps of an epoch; the first epoch is not timed: it compiles
VOCABULARY, LENGTH, ROWS, DEPTH, SIZE = (24_576, 1024, 16, 12, 12.0) if BIG else (64, 16, 2, 1, 1.0)
PIXELS, CLASSES, IMAGES, RESNET = (224, 1000, 256, 8.0) if BIG else (32, 10, 2, 0.5)
RECIPE = TrainingConfig(
    epochs=EPOCHS, learning_rate=3e-4, clip=1.0, schedule="constant", keep="last", checkpoint_seconds=1e9,
    precision="bfloat16" if GPU else "float32",
)  # fmt: skip
Loss = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Case:
    """What is trained, and what one row of it costs."""

    name: str
    unit: str  # what is counted
    rows: dict[str, Tensor]
    batch: int
    units: int  # of one row
    flops: float  # of one row, forward and backward; 0 where they are not known
    make: Callable[[], Network]
    others: dict[str, Callable[[], tuple[nn.Module, Loss]]]


def ceiling() -> float:
    """Floating-point operations a second of a large matrix product, the best of ten."""
    side, kind = (8192, torch.bfloat16) if BIG else (256, torch.float32)
    a, b = (torch.randn(side, side, device=DEVICE, dtype=kind) for _ in range(2))
    best = 0.0
    for _ in range(10):
        start = now()
        for _ in range(10):
            a @ b
        best = max(best, 10 * 2 * side**3 / (now() - start))
    return best


def now() -> float:
    """Seconds, once the GPU has done what it was told."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def compiled(function: Callable) -> Callable:
    return torch.compile(function) if GPU else function


def by_the_loop(case: Case) -> float:
    """Rows a second of the one loop."""
    network, ends = case.make(), []
    network.architecture.loss = compiled(network.architecture.loss)
    few = {name: column[:2] for name, column in case.rows.items()}

    def note(report: dict) -> None:
        if "train_loss" in report:
            ends.append(now())

    Trainer(network, TensorFeed(case.rows, case.batch), few, RECIPE, device=DEVICE, report=note).run()
    return len(case.rows["target"]) * (EPOCHS - 1) / (ends[-1] - ends[0])


def bare(case: Case, network: nn.Module, loss: Loss) -> float:
    """Rows a second of the shortest loop that does the same."""
    network.to(DEVICE).train()
    loss = compiled(loss)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RECIPE.learning_rate, fused=True)
    ends = []
    for _ in range(EPOCHS):
        for batch in batches(case):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
                found = loss(batch)
            found.backward()
            nn.utils.clip_grad_norm_(network.parameters(), RECIPE.clip, foreach=True)
            optimiser.step()
        ends.append(now())
    return len(case.rows["target"]) * (EPOCHS - 1) / (ends[-1] - ends[0])


def batches(case: Case) -> Iterable[dict[str, Tensor]]:
    for first in range(0, len(case.rows["target"]), case.batch):
        yield {name: column[first : first + case.batch] for name, column in case.rows.items()}


def same(case: Case) -> tuple[nn.Module, Loss]:
    """The loop's own network, for the bare loop."""
    network = case.make().to(DEVICE)
    return network, lambda batch: network.architecture.loss(batch, "all", network.task)


def decoder() -> Case:
    values = [str(number) for number in range(VOCABULARY - 4)]
    state = {"values": [values], "sizes": [VOCABULARY], "unit": "word", "length": LENGTH}
    field = TensorField("text", ("text",), (LENGTH,), "int64", state)
    tokens = torch.randint(4, VOCABULARY, (ROWS * STEPS, LENGTH), device=DEVICE)

    def make() -> Network:
        options = {"size": SIZE, "depth": DEPTH, "dropout": 0.0, "runs": 1}
        return build("decoder", "language_modelling", {"text": field}, field, **options)

    def hugging_face() -> tuple[nn.Module, Loss]:
        from transformers import GPT2Config, GPT2LMHeadModel

        width = make().architecture.out_features
        shape = {"n_positions": LENGTH, "n_embd": width, "n_layer": DEPTH, "n_head": max(1, width // 64)}
        none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **shape, **none))
        return model, lambda batch: model(input_ids=batch["text"], labels=batch["text"], use_cache=False).loss

    network = make()
    matrices = (
        sum(p.numel() for p in network.parameters() if p.ndim == 2) - VOCABULARY * network.architecture.out_features
    )
    attention = (
        DEPTH * LENGTH * network.architecture.out_features
    )  # of one token, half of the square: it looks back alone
    flops = LENGTH * 6 * (matrices + attention)
    size = sum(p.numel() for p in network.parameters()) / 1e6
    name = f"decoder, {size:.0f} million parameters, {ROWS} × {LENGTH} tokens a step"
    rows = {"text": tokens, "target": tokens}
    return Case(name, "tokens/s", rows, ROWS, LENGTH, flops, make, {"Hugging Face GPT-2": hugging_face})


def resnet() -> Case:
    image = TensorField("image", ("image",), (3, PIXELS, PIXELS), "float32", {})
    target = TensorField("category", ("label",), (), "int64", {"values": [list(range(CLASSES))]})
    pictures = torch.randn(IMAGES * STEPS, 3, PIXELS, PIXELS, dtype=torch.bfloat16 if GPU else torch.float32)
    labels = torch.randint(CLASSES, (IMAGES * STEPS,), device=DEVICE)

    def make() -> Network:
        network = build("resnet", "classification", {"image": image}, target, size=RESNET)
        return network.to(memory_format=torch.channels_last)

    def torchvision() -> tuple[nn.Module, Loss]:
        from torchvision.models import resnet50

        model = resnet50(num_classes=CLASSES).to(memory_format=torch.channels_last)
        return model, lambda batch: nn.functional.cross_entropy(model(batch["image"]), batch["target"])

    size = sum(p.numel() for p in make().parameters()) / 1e6
    rows = {"image": pictures.to(DEVICE, memory_format=torch.channels_last), "target": labels}
    name = f"resnet, {size:.1f} million parameters, {IMAGES} images of {PIXELS} px a step"
    flops = 3 * 2 * 4.09e9 if BIG else 0.0  # ResNet-50's multiplications forward at 224 px, twice that backward
    return Case(name, "images/s", rows, IMAGES, 1, flops, make, {"torchvision ResNet-50": torchvision})


def main() -> None:
    if GPU:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16, torch.compile.\n")
    else:
        print("No GPU here: tiny sizes on the CPU show that the commands work. These figures are no measurements.\n")
    top = ceiling()
    print(f"Ceiling, the matrix product measured here: {top / 1e12:.3g} TFLOP/s.\n")
    torch.manual_seed(0)
    for case in (decoder(), resnet()):
        found = {"the loop": by_the_loop(case), "bare torch loop": bare(case, *same(case))}
        for name, make in case.others.items():
            try:
                found[name] = bare(case, *make())
            except (ImportError, RuntimeError) as error:
                print(f"{name} cannot run here: {str(error).splitlines()[0]}", file=sys.stderr)
        print(f"{case.name}\n\n| | {case.unit} | ratio to bare | share of the ceiling |\n|---|---:|---:|---:|")
        for name, rate in found.items():
            share = f"{rate * case.flops / top:.1%}" if case.flops else "—"
            print(f"| {name} | {rate * case.units:,.0f} | {rate / found['bare torch loop']:.2f} | {share} |")
        print()


if __name__ == "__main__":
    main()
