"""Keep one record an epoch, and compare epochs."""

import math
from collections.abc import Mapping
from typing import Any

from evergreen.models.training.config import TrainingConfig


class History(list[dict[str, Any]]):
    """Hold one record an epoch: epoch, train_loss, validation_loss and the validation metrics.

    It holds no wall-clock times, so equal runs have equal histories. The first of `metrics`, name → "max" or "min",
    decides.
    """

    def __init__(self, metrics: Mapping[str, str]) -> None:
        super().__init__()
        self.decider, self.direction = next(iter(metrics.items()))

    def sort_key(self, record: Mapping[str, Any]) -> tuple[float, float]:
        """Return the deciding metric and the negated validation loss, greater is better; not-a-number is worst."""
        score = record[self.decider] if self.direction == "max" else -record[self.decider]
        finite = all(math.isfinite(value) for value in (score, record["validation_loss"], record["train_loss"]))
        return (score, -record["validation_loss"]) if finite else (-math.inf, -math.inf)

    @property
    def sort_keys(self) -> list[tuple[float, float]]:
        """The sort key of every epoch."""
        return [self.sort_key(record) for record in self]

    @property
    def epochs_since_best(self) -> int:
        """The epochs since the best one, the first of equals."""
        standings = self.sort_keys
        return len(self) - 1 - standings.index(max(standings)) if self else 0

    def is_over(self, config: TrainingConfig) -> bool:
        """Tell whether nothing is left to train: all epochs are done, or training has stopped before."""
        return len(self) >= config.last_epoch or self.has_stopped(config)

    def has_stopped(self, config: TrainingConfig) -> bool:
        """Tell whether patience is at its end or the loss has diverged."""
        return 0 < config.patience <= self.epochs_since_best or self.has_diverged

    @property
    def has_diverged(self) -> bool:
        """True if the last epoch's loss is not a number, so that nothing can be learned any more."""
        return bool(self) and not math.isfinite(self[-1]["train_loss"])
