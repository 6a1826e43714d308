"""Make one update of the weights: gradients of all pieces of a batch, and a step of each group that may be made."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from evergreen.models.network import Network
from evergreen.models.training import micro_batches
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.distributed import DistributedContext, batch_norm_buffers, no_grad_sync
from evergreen.models.training.learning_rate import learning_rate_at, plateau_drops
from evergreen.models.training.state import TrainingState
from evergreen.models.training.step_guard import StepGuard

log = logging.getLogger(__name__)


class WeightUpdater:
    """Update `network` by `config`; `steps` is the number of updates an epoch."""

    def __init__(
        self,
        network: Network,
        loss_module: nn.Module,
        config: TrainingConfig,
        state: TrainingState,
        steps: int,
        context: DistributedContext,
    ) -> None:
        self.network, self._loss_module, self.config, self.state = network, loss_module, config, state
        self._steps, self.context = steps, context
        self._batch_norms = batch_norm_buffers(network)
        self._guard = StepGuard(config, state, self._batch_norms)

    def update(self, parts: list[dict[str, Tensor]]) -> None:
        """Update the weights; where memory is short, by half as many rows at a time, from here on."""
        state = self.state
        try:
            return self._update_groups(micro_batches.split(parts, state.micro_batch))
        except RuntimeError as error:
            if not micro_batches.is_out_of_memory(error):
                raise
            state.micro_batch = micro_batches.halve(parts, state.micro_batch, self.context.world)
        self._guard.restore()  # outside the block above, in which the error holds on to memory
        log.warning("memory is short: batches are computed by %d rows at a time", state.micro_batch)
        self.update(parts)

    def _update_groups(self, parts: list[dict[str, Tensor]]) -> None:
        """Update every group in turn; its gradient is the mean over the rows of all `parts`.

        Where a gradient is no number, or leaps, no step is made and the rows count for nothing.
        """
        state, config = self.state, self.config
        self.context.seed(config.seed, state.step, self.context.rank)
        steps = self._steps * config.epochs
        drops = plateau_drops(config, state.history.sort_keys) if config.schedule == "plateau" else 0
        rate = learning_rate_at(config, state.step, steps, drops) * config.lr_after_skip**state.skipped
        counts = [part["target"].shape[0] for part in parts]
        losses = torch.zeros_like(state.loss)
        self._guard.remember()
        for group, optimisers in state.optimizers.items():
            self.network.zero_grad(set_to_none=True)
            for part, count in zip(parts, counts, strict=True):
                with (
                    nullcontext() if part is parts[-1] else no_grad_sync(self._loss_module),
                    autocast(self.config, self.context.device),
                ):
                    loss = self._loss_module(part, group)
                    state.scaler.scale(loss if len(parts) == 1 else loss * (count / sum(counts))).backward()
                losses.add_(loss.detach(), alpha=count)
            if not self._guard.allows(group, optimisers):
                state.rows += sum(counts)
                return self._guard.skip(sum(counts))
            for optimiser in optimisers:
                for weights in optimiser.param_groups:
                    weights["lr"] = rate * weights["scale"]
                state.scaler.step(optimiser)
        state.scaler.update()
        state.rows += sum(counts)
        state.loss.add_(losses)
        self.context.all_reduce_mean(self._batch_norms)
        if state.average:
            state.average.update(config.average_decay(state.step, steps))


def autocast(config: TrainingConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Let matrix products be computed in the configured precision."""
    if config.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, config.precision))
