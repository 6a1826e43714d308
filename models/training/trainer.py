"""Train any network by one loop.

A run is a function of its configuration, its feed and the network that it starts from. The order of batches is a
function of the epoch's number, random numbers one of the step's. So the position, the weights and the optimizers' state
are all that a checkpoint holds, and a run that is killed and started again ends, on the CPU, with the same bytes as one
that was not.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evergreen.core.errors import ModelError
from evergreen.models.network import Network
from evergreen.models.training import weight_sharding
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.distributed import DistributedContext
from evergreen.models.training.feed import Feed
from evergreen.models.training.history import History
from evergreen.models.training.loss_module import LossModule
from evergreen.models.training.run_checkpoints import RunCheckpoints
from evergreen.models.training.state import TrainingState, clone_weights
from evergreen.models.training.step_trace import TRACE, StepTrace
from evergreen.models.training.strategy import Strategy
from evergreen.models.training.throughput import ThroughputMeter
from evergreen.models.training.weight_updater import WeightUpdater, autocast

Report = Callable[[dict[str, Any]], None]
EACH_HOLDS_ALL = Strategy()
REPORT_SECONDS = 1.0  # between two reports within an epoch


def no_report(report: dict[str, Any]) -> None:
    """Ignore a report."""


class _TrainingPasses:
    """Iterate over all training rows, an epoch each time, for `init_from_data`."""

    def __init__(self, feed: Feed, context: DistributedContext) -> None:
        self.feed, self.context, self.number = feed, context, 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.number += 1
        return (self.context.to_device(batch) for batch in self.feed.epoch(self.number - 1))


class Trainer:
    """Train `network` on `train` by `config`, and validate after each epoch.

    `validation` holds the whole validation split with its target. Checkpoints go to `folder`; if it holds one of this
    very run, training continues from it. With `world` > 1 the caller has initialized torch's process group, and each
    rank's feed yields its slice of the global batches. `report` is called on every rank: after each epoch with the
    epoch's metrics, and about once a second within long epochs without them. `initialize_from_data` says whether the
    architecture sets weights from the rows first; a network that brings its weights does not need that.
    """

    def __init__(
        self,
        network: Network,
        train: Feed,
        validation: Mapping[str, Any],
        config: TrainingConfig,
        *,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        folder: Path | None = None,
        report: Report = no_report,
        initialize_from_data: bool = True,
        strategy: Strategy = EACH_HOLDS_ALL,
    ) -> None:
        self.context = DistributedContext(rank, world, device)
        self.network, self.train, self.config = network.to(self.context.device), train, config
        self.report = report
        self.facts: tuple[Tensor, Tensor]  # that the last epoch's metrics were computed from, on rank 0
        self.validation = self.context.to_device(validation)
        self.strategy, self.why_parallel = strategy.decide(network, self.context)
        self._loss_module: nn.Module = LossModule(network, config.mixup)
        is_sharded = self.strategy.parallel == "fsdp"
        if is_sharded:  # a network is set from the rows as a whole
            self._initialize(initialize_from_data)
        if self.strategy.activation_checkpointing:
            weight_sharding.recompute_activations(network.architecture)
        if is_sharded:
            weight_sharding.shard(self._loss_module, self.context)
        self._checkpoints = RunCheckpoints(folder, self.context, is_sharded=is_sharded)
        file = folder / f"{TRACE}{rank}.json" if folder and self.strategy.profile else None
        self._trace = StepTrace(file)
        self._state = TrainingState(self.network, config, train.rows)
        self._steps = -(-train.steps() // config.accumulate)  # updates per epoch
        resumed = self._checkpoints.restore(self._state)
        if not is_sharded:
            self._initialize(initialize_from_data and not resumed)
        if self.strategy.compile:
            self._loss_module.compile()
        if not is_sharded:
            self._loss_module = self.context.wrap_ddp(self._loss_module)
        if self.why_parallel:
            self.report({"doing": self.why_parallel})
        if not resumed:
            self._state.mark_initial()
        self._updater = WeightUpdater(network, self._loss_module, config, self._state, self._steps, self.context)

    @property
    def epoch(self) -> int:
        """The epochs done."""
        return self._state.epoch

    @property
    def step(self) -> int:
        """The updates of the weights done."""
        return self._state.step

    @property
    def history(self) -> History:
        """One record an epoch: epoch, train_loss, validation_loss and the task's metrics on the validation split."""
        return self._state.history

    @property
    def best(self) -> tuple[int, dict[str, float]] | None:
        """The epoch that is kept (the best validated or the last, as configured) and its record."""
        return self._state.best

    @property
    def is_finished(self) -> bool:
        """True if nothing is left to do."""
        return self.history.is_over(self.config)

    def best_state(self) -> dict[str, Tensor]:
        """Return the weights of the `best` epoch; the current ones, where no epoch is finished."""
        return clone_weights(self._state.best_weights) if self.best else self._state.averaged_weights()

    def run(self, epochs: int | None = None, deadline: float | None = None, *, steps: int | None = None) -> None:
        """Train on to `epochs` in all (None: as configured), or until time.monotonic() passes `deadline`.

        `steps` bounds the updates of the weights in all. Returns between two steps; another call continues from there.
        Raises ModelError when the loss is not a number before any epoch could be kept.
        """
        target = self.config.last_epoch if epochs is None else epochs
        meter = ThroughputMeter(self._rows_done, target * self.train.rows)
        while self.epoch < target and not self.history.has_stopped(self.config):
            if not self._train_epoch(target, deadline, meter, steps):
                break
            with meter.timed("validation"):
                self._close_epoch()
            self.report({"epochs": target, **meter.measure(), "time": meter.shares(), **self.history[-1]})
        self._trace.close()
        self._checkpoints.start(self._state)
        self._checkpoints.wait()

    def _initialize(self, from_data: bool) -> None:
        """Let the architecture set weights from the rows, alike on every rank."""
        if from_data:
            self.context.seed(self.config.seed, 0, 0)
            self.network.architecture.init_from_data(_TrainingPasses(self.train.single_process(), self.context))

    def _train_epoch(self, target: int, deadline: float | None, meter: ThroughputMeter, limit: int | None) -> bool:
        """Train the rest of the epoch; return False if time ran out, or `limit` was reached, before its end."""
        state, steps = self._state, self.train.steps()
        self._loss_module.train()
        batches = iter(self.train.epoch(state.epoch, state.batch))
        while state.batch < steps:
            if deadline is not None and self.context.broadcast_bool(time.monotonic() >= deadline):
                return False
            if limit is not None and state.step >= limit:
                return False
            with meter.timed("data"):
                parts = [self.context.to_device(batch) for batch in islice(batches, self.config.accumulate)]
            if not parts:
                raise ModelError(f"the feed ended after {state.batch} of {steps} batches", place="feed")
            with meter.timed("steps"):
                self._updater.update(parts)
            self._trace.step()
            state.batch += len(parts)
            state.step += 1
            now = time.monotonic()
            if self._checkpoints.is_due(self.config.checkpoint_seconds):
                with meter.timed("checkpoints"):
                    self._checkpoints.start(state)
            if now - meter.reported >= REPORT_SECONDS:
                self.report({"epoch": state.epoch, "epochs": target, **meter.measure()})
        return True

    def _close_epoch(self) -> None:
        state = self._state
        names = ["train_loss", "validation_loss", *self.network.task.METRICS]
        measures = self.context.is_first or self.strategy.parallel == "fsdp"  # where all have to gather the weights
        record = self.context.broadcast_metrics(self._measure() if measures else None, names)
        self.context.broadcast_from_0(self.network.buffers())  # what the validation rows have chosen is among them
        troubles = {"skipped_rows": state.skipped_rows * self.context.world, "micro_batch": state.micro_batch}
        told = {name: number for name, number in troubles.items() if number}
        state.epoch, state.batch, state.rows, state.skipped_rows = state.epoch + 1, 0, 0, 0
        state.loss.zero_()
        state.history.append({"epoch": state.epoch, **record, **told})
        leads = state.history.epochs_since_best == 0
        finite = math.isfinite(record["validation_loss"]) and math.isfinite(record["train_loss"])
        if finite and (leads or self.config.keep == "last"):
            state.best, state.best_weights = (state.epoch, record), state.averaged_weights()
        if state.history.has_diverged and state.best is None:
            problem = f"the gradient of most batches of epoch {state.epoch} is not a number"
            raise ModelError(problem, place="train", fix="lower learning_rate, or set grad_clip_norm to 1")

    def _measure(self) -> dict[str, float]:
        state, task = self._state, self.network.task
        live = clone_weights(state.weights) if state.average else None
        self.network.load_state_dict(state.averaged_weights())
        with autocast(self.config, self.context.device):
            loss, facts = self._evaluate(self.validation)
        if live:
            self.network.load_state_dict(live)
        self.facts = facts
        for name, value in task.calibrate(*facts).items():
            task.get_buffer(name).copy_(value)
        learned = state.rows - state.skipped_rows
        train_loss = float(state.loss) / learned if 2 * learned > state.rows else math.nan
        return {"train_loss": train_loss, "validation_loss": loss, **task.metrics(*facts)}

    def _evaluate(self, rows: Mapping[str, Tensor]) -> tuple[float, tuple[Tensor, Tensor]]:
        is_wrapped = self.strategy.parallel == "fsdp"  # the method of which gathers weights
        return (self._loss_module if is_wrapped else self.network).evaluate(rows)  # type: ignore[operator,no-any-return]

    def _rows_done(self) -> int:
        return self.epoch * self.train.rows + self._state.rows * self.context.world
