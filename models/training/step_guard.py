"""Let no step be made by a gradient that is not a number, or that leaps."""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.state import TrainingState
from evergreen.models.training.weight_sharding import whole

MEMORY = 0.98  # share of the running mean of gradients' lengths that a step keeps
STEPS = 10  # made before a leap is looked for: the first gradients are long


class StepGuard:
    """Judge each gradient before its step, so that nothing has to be rolled back but the norms' statistics.

    Every rank holds the same mean gradient, so all decide alike. Gradients of float16 are left to the loss scaler,
    which skips those that overflow by itself.
    """

    def __init__(self, config: TrainingConfig, state: TrainingState, statistics: list[Tensor]) -> None:
        self.config, self.state, self.statistics = config, state, statistics
        self._before: list[Tensor] = []

    def remember(self) -> None:
        """Keep the norms' statistics as they are before an update."""
        self._before = [tensor.clone() for tensor in self.statistics]

    def allows(self, group: str, optimisers: list[Optimizer]) -> bool:
        """Clip the gradient of a group as configured, and tell whether the step may be made."""
        state, config = self.state, self.config
        if config.clip:
            for optimiser in optimisers:
                state.scaler.unscale_(optimiser)
            norm = torch.nn.utils.clip_grad_norm_(state.groups[group], config.clip, foreach=True)
        elif state.scaler.is_enabled():
            return True
        else:
            gradients = [one.grad for one in state.groups[group] if one.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        return state.scaler.is_enabled() or self._is_usual(group, float(whole(norm)))

    def skip(self, n_rows: int) -> None:
        """Count an update that is not made, of `n_rows` of this rank, and restore the norms' statistics."""
        self.restore()
        self.state.skipped += 1
        self.state.skipped_rows += n_rows

    def restore(self) -> None:
        """Set the norms' statistics back to what is remembered."""
        for tensor, before in zip(self.statistics, self._before, strict=True):
            tensor.copy_(before)

    def _is_usual(self, group: str, length: float) -> bool:
        if not math.isfinite(length):
            return False
        mean, factor = self.state.lengths.get(group), self.config.grad_spike_factor
        if mean is not None and factor and self.state.step >= STEPS and length > factor * mean:
            return False
        if factor:
            self.state.lengths[group] = length if mean is None else MEMORY * mean + (1 - MEMORY) * length
        return True
