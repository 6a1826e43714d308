"""The section `train` of a pipeline's YAML."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from evergreen.core.errors import PipelineError

OWN = (  # fields of TrainConfig that are not the recipe's
    "augment",
    "refit",
    "balance",
    "bucket",
    "memory_mb",
    "start_from",
    "freeze",
    "options",
    "workers",
    "device",
    "max_failures",
    "storage_bytes",
)


BOUNDS = {  # the least and the most, seen before hours are spent on what comes before training
    **dict.fromkeys(("workers", "memory_mb", "epochs", "batch_size", "accumulate", "plateau_patience"), (1, math.inf)),
    **dict.fromkeys(("max_failures", "storage_bytes", "weight_decay", "clip", "mixup"), (0, math.inf)),
    **dict.fromkeys(("patience", "checkpoint_seconds"), (0, math.inf)),
    **dict.fromkeys(("momentum", "layer_decay", "warmup_share", "ema", "swa"), (0, 1)),
}


@dataclass(frozen=True)
class TrainConfig:
    """How the candidate is trained. What is None is taken from tune, else from the architecture, else from Recipe."""

    workers: int = 1  # processes that share each batch
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: cuda where the cluster has it
    max_failures: int = 3  # times that dead workers are started again
    storage_bytes: int = 2 * 2**30  # checkpoints of earlier runs are removed above it, the oldest first
    seed: int = 0
    refit: bool = False  # on the validation rows as well, once all is chosen by them; intervals, by a run without them
    balance: bool = False  # each class equally often, however many rows it has
    bucket: bool = False  # texts or sounds of about one length come together, so that little is padding
    memory_mb: int = 1024  # of each worker, for rows: those that fit, encoded, are kept; else they are streamed
    start_from: str = ""  # NAME@VERSION of a released version whose weights and architecture it begins with
    freeze: Literal["nothing", "features"] = "nothing"  # of what it starts from: the head alone learns, or everything
    options: dict[str, Any] = field(default_factory=dict)  # of the architecture, where the choice's do not serve
    augment: bool = False  # vary training rows as their kinds do: images (not under masks, boxes) are turned, scaled …
    epochs: int | None = None
    batch_size: int | None = None  # rows, over all workers
    learning_rate: float | None = None
    weight_decay: float | None = None
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] | None = None  # muon: hidden matrices, adamw the rest
    momentum: float | None = None  # of sgd: the share of the last step's direction that is kept
    layer_decay: float | None = None  # each layer learns at this share of the rate of the one nearer the output
    schedule: Literal["cosine", "constant", "one_cycle", "plateau"] | None = None  # of the learning rate
    warmup_share: float | None = None  # of all steps, in which cosine and plateau climb to their peak
    plateau_patience: int | None = None  # epochs without a better validation after which a plateau's rate falls
    clip: float | None = None  # largest norm of the gradient, 0 is off
    accumulate: int | None = None  # batches that make one step
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    ema: float | None = None  # share of the running mean of weights that a step keeps, 0 is off
    swa: float | None = None  # share of all steps, the last ones, whose weights are averaged evenly instead, 0 is off
    mixup: float | None = None  # α of the Beta distribution by which pairs of rows are mixed, 0 is off
    patience: int | None = None  # epochs without a better validation after which it ends, 0 is never
    keep: Literal["best", "last"] | None = None  # the epoch whose weights are the result
    checkpoint_seconds: float | None = None  # between two checkpoints; 0 is after every step

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                fix = f"give at least {least}" if most == math.inf else f"give a share between {least} and {most}"
                raise PipelineError(f"{name} is {value}", fix=fix)
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise PipelineError(f"learning_rate is {self.learning_rate}", fix="give a number above 0")
        if self.freeze != "nothing" and not self.start_from:
            fix = "say which version to start from, or leave freeze out"
            raise PipelineError("freeze without start_from would keep random features", fix=fix)
        if self.start_from and self.options:
            fix = "leave options out: they are those of the version it starts from"
            raise PipelineError("options and start_from contradict each other", fix=fix)
        if self.refit and (self.keep == "best" or self.patience):
            fix = "leave refit out, or keep: best and patience"
            raise PipelineError("refit leaves no rows by which keep: best or patience could decide", fix=fix)

    def recipe(self) -> dict[str, Any]:
        """The recipe's fields that were set."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in OWN and value is not None}
