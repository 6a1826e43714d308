"""Hold every number of a training run."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from evergreen.core.errors import ModelError, suggest

NOT_NEGATIVE = ("weight_decay", "prior", "stop_epoch", "clip", "mixup", "patience", "checkpoint_seconds")
BOUNDS = {  # field → its least and its greatest value
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "plateau_patience"), (1, math.inf)),
    **dict.fromkeys((*NOT_NEGATIVE, "grad_spike_factor"), (0, math.inf)),
    **dict.fromkeys(("momentum", "ema", "swa", "warmup_share", "layer_decay", "lr_after_skip"), (0, 1)),
}


@dataclass(frozen=True)
class TrainingConfig:
    """Configure the training of a network. A step is one update of the weights."""

    epochs: int = 40  # passes over the training rows
    stop_epoch: int = 0  # after which it ends, though the schedule is that of all epochs; 0 is the last
    batch_size: int = 32  # rows of one batch, over all ranks
    learning_rate: float = 2e-3  # at its peak
    # of matrices, not of norms and biases; decoupled (adamw, muon) or an L2 penalty (adam, sgd, rmsprop)
    weight_decay: float = 1e-2
    prior: float = 0.0  # of matrices: weight decay over the number of training rows, besides; 1 is a normal prior
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "muon"] = "adamw"  # muon: hidden matrices; adamw the rest
    momentum: float = 0.9  # of sgd: the share of the last step's direction that is kept
    layer_decay: float = 1.0  # each layer learns at this share of the rate of the one nearer the output, 1 is off
    schedule: Literal["cosine", "constant", "one_cycle", "plateau"] = "cosine"
    warmup_share: float = 0.05  # share of all steps in which cosine and plateau climb to their peak
    plateau_patience: int = 5  # epochs without a better validation after which a plateau's learning rate falls
    clip: float = 0.0  # largest norm of a group's gradient, 0 is off
    grad_spike_factor: float = 0.0  # a gradient so many times longer than the running mean makes no step, 0 is off
    lr_after_skip: float = 1.0  # share of the learning rate that each step which was not made leaves to later ones
    accumulate: int = 1  # batches whose gradients make one step
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of matrix products; weights stay float32
    ema: float = 0.0  # share of the running mean of the weights that a step keeps (0.99 averages ~100 steps), 0 is off
    swa: float = 0.0  # share of all steps, the last ones, whose weights are averaged evenly instead, 0 is off
    mixup: float = 0.0  # α of the Beta distribution by which pairs of rows are mixed (0.2 is mild), 0 is off
    patience: int = 0  # epochs without a better validation after which training ends, 0 is never
    keep: Literal["best", "last"] = "best"  # the epoch whose weights are the result: the best validated, or the last
    seed: int = 0
    checkpoint_seconds: float = 60.0  # between two checkpoints; 0 is after every step

    def __post_init__(self) -> None:
        for name, right in CHOICES.items():
            if getattr(self, name) not in right:
                fix = f"use {', '.join(right)}"
                raise ModelError(f"{getattr(self, name)!r} is not a valid value of {name}", place="train", fix=fix)
        for name, (low, high) in BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                fix = f"use at least {low}" if high == math.inf else "use a fraction between 0 and 1"
                raise ModelError(f"{name} is not valid (got {getattr(self, name)})", place="train", fix=fix)
        if not self.learning_rate > 0:
            fix = "use a number above 0"
            raise ModelError(f"learning_rate is not valid (got {self.learning_rate})", place="train", fix=fix)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed. Raises ModelError with the nearest name for an unknown one."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ModelError(f"{name!r} is not an option of training", place="train", fix=suggest(name, known))
        return dataclasses.replace(self, **changes)

    @property
    def last_epoch(self) -> int:
        """The epochs that are trained, unless it stops before."""
        return min(self.stop_epoch or self.epochs, self.epochs)

    @property
    def averages_weights(self) -> bool:
        """True if averaged weights are the ones that are evaluated and kept."""
        return self.ema > 0 or self.swa > 0

    def average_decay(self, step: int, steps: int) -> float:
        """Return the fraction of the mean weights that is kept when a step of `steps` in all is added."""
        if self.swa:  # evenly over the last steps (Izmailov et al. 2018); until then the weights are their own mean
            before = step - round((1 - self.swa) * steps)  # steps that are in the mean already
            return before / (before + 1) if before > 0 else 0.0
        return min(self.ema, (1 + step) / (10 + step))  # a young mean forgets the random first weights sooner


CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(kind) for name, kind in get_type_hints(TrainingConfig).items() if get_origin(kind) is Literal
}
