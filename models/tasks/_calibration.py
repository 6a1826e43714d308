"""Make probabilities of classes hold: for their real shares, and on rows that a network has not learned from."""

import math
from collections.abc import Mapping
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evergreen.models.answers import Objects
from evergreen.models.base import FieldLike, Task

LIMIT = math.log(20)  # of a temperature's logarithm, either way
HALVINGS = 40
ROUNDING = 1e-5  # share of a probability: those of answers have the digits of float32
TIE = 1e-3  # share of a class's advantage that its rows keep, so that the commoner of two equal classes is answered


class CalibratedTask(Task):
    """Bend a head's logits (N, K) to log-odds that hold, wherever the network does not train.

    `shift` is added. It bends back what class weights or balanced draws did to the shares of the classes: the logarithm
    of the real share over the one that training saw ("prior correction": King and Zeng 2001; Saerens et al. 2002).
    `temperature` divides. Validation rows choose it once the weights are trained (Guo et al. 2017).

    Answers count weighted or balanced classes alike all the same: the class is answered whose probability over its
    share is the highest, which is the best decision at such costs (Elkan 2001).
    """

    HAS_PROBABILITIES = True
    shift: Tensor  # (K,)
    temperature: Tensor

    def __init__(self, target: FieldLike, in_features: int) -> None:
        super().__init__(target, in_features)
        self.classes: list[Any] = list(target.state["values"][0])
        self.many = target.kind == "labels"
        self.register_buffer("shift", torch.zeros(len(self.classes)))
        self.register_buffer("temperature", torch.ones(()))

    def bend(self, logits: Tensor) -> Tensor:
        """Return logits as they are learned, or else log-odds that hold, (…, K)."""
        return logits if self.training else (logits + self.shift) / self.temperature

    def unbend(self, output: Tensor) -> Tensor:
        """Return the logits that `bend` was given."""
        return output if self.training else output * self.temperature - self.shift

    def average(self, outputs: Tensor) -> Tensor:
        """Return log-odds (B, K) of the mean probabilities of (B, M, K)."""
        z = self.unbend(outputs)
        if self.many:
            has, lacks = (functional.logsigmoid(sign * z).logsumexp(1) for sign in (1, -1))
            return self.bend(has - lacks)
        return self.bend(z.log_softmax(2).logsumexp(1) - math.log(z.shape[1]))

    def decisions(self, output: Tensor) -> Tensor:
        """Return what answers are chosen by, (…, K): the highest of classes, labels above 0."""
        return output - (1 - TIE) * self.shift

    def calibrate_probabilities(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Choose the temperature that gives these rows the lowest log-loss; keep 1 unless it gains a standard error.

        As if half a row more had been wrong (after Platt 1999): few rows, all of them right, prove no certainty.
        Without both, the temperature of a hundred rows makes a network that was good worse.
        """
        z, known = output.double(), target if self.many else functional.one_hot(target, output.shape[1])
        n_rows, n_outcomes = len(z), 2 if self.many else z.shape[1]
        doubt = 0.5 / (n_rows + 1) / (n_outcomes - 1)
        q = known.double() * (1 - n_outcomes * doubt) + doubt
        low, high = -LIMIT, LIMIT  # of the logarithm; the loss is convex in 1 / temperature
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            cooled = z * math.exp(-middle)
            p = cooled.sigmoid() if self.many else cooled.softmax(1)
            is_too_hot = float(((p - q) * z).sum()) < 0
            low, high = (low, middle) if is_too_hot else (middle, high)
        chosen = float(f"{math.exp((low + high) / 2):.4g}")
        before_N, after_N = (self.log_losses(z / temperature, target) for temperature in (1.0, chosen))
        gain_N = before_N - after_N
        if not float(gain_N.mean()) > float(gain_N.std()) / n_rows**0.5:
            chosen, after_N = 1.0, before_N
        self.temperature.fill_(chosen)
        losses = {"log_loss_before": float(before_N.mean()), "log_loss_after": float(after_N.mean())}
        return {"temperature": chosen, **losses, "rows": n_rows}

    def misses(self, stored: Mapping[str, list[Any]]) -> Tensor | None:
        """Return the log-loss of each row, (N,); None of many labels, and where the rows are scored otherwise."""
        if self.many or "confidence" not in stored:
            return None
        losses_N, likeliest_N = (
            torch.tensor(stored[name], dtype=torch.float64) for name in ("row_score", "confidence")
        )
        p_N = torch.exp(-losses_N)  # of the true class: it is the likeliest, or has no more than the rest
        are_losses = ((p_N - likeliest_N).abs() < ROUNDING) | (p_N < 1 - likeliest_N + ROUNDING)
        return losses_N if bool(are_losses.all()) else None

    def widen(self, answers: Objects, limit: Tensor) -> Objects:
        """Add `set`: the classes whose log-loss would be at most `limit` (Sadinle, Lei and Wasserman 2019)."""
        floor = math.exp(-float(limit)) * (1 - ROUNDING)
        likely = [[p >= floor for p in answer["probabilities"].values()] for answer in answers]
        return [answer | {"set": [*compress(self.classes, some)]} for answer, some in zip(answers, likely, strict=True)]

    def log_losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the log-loss of each row (N,), float64, of labels the mean over them (Good 1952)."""
        if self.many:
            losses_NK = functional.binary_cross_entropy_with_logits(output.double(), target.double(), reduction="none")
            return losses_NK.mean(1)
        return functional.cross_entropy(output.double(), target, reduction="none")

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}shift", torch.zeros_like(self.shift))  # weights that were stored without them
        state_dict.setdefault(f"{prefix}temperature", torch.ones_like(self.temperature))
        super()._load_from_state_dict(state_dict, prefix, *rest)
