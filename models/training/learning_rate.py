"""Compute the learning rate of each step: warm-up, decay, cycles and plateaus."""

import math
from collections.abc import Sequence
from typing import Any

from evergreen.models.training.config import TrainingConfig

CYCLE_SHARE, CYCLE_START = 0.3, 1 / 25  # of the steps that one_cycle climbs, and of the peak where it begins
PLATEAU_FACTOR = 0.3  # by which the learning rate falls where validation no longer gets better


def learning_rate_at(config: TrainingConfig, step: int, steps: int, drops: int = 0) -> float:
    """Return the learning rate at a step of `steps` in all, after `drops` drops of the plateau schedule."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "one_cycle":
        return config.learning_rate * _one_cycle(step / max(1, steps))
    warmup = round(config.warmup_share * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "plateau":
        return config.learning_rate * PLATEAU_FACTOR**drops
    return config.learning_rate * _cosine_decay((step - warmup) / max(1, steps - warmup))


def plateau_drops(config: TrainingConfig, sort_keys: Sequence[Any]) -> int:
    """Count the drops of the plateau schedule after epochs with these sort keys (greater is better)."""
    best, waited, drops = None, 0, 0
    for key in sort_keys:
        if best is None or key > best:
            best, waited = key, 0
        else:
            waited += 1
        if waited >= config.plateau_patience:
            drops, waited = drops + 1, 0
    return drops


def _cosine_decay(share: float) -> float:
    """Return half a cosine from 1 down to 0 (Loshchilov and Hutter 2017)."""
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


def _one_cycle(share: float) -> float:
    """Return one cycle (Smith and Topin 2018): half a cosine up, then one down to 0."""
    if share < CYCLE_SHARE:
        return CYCLE_START + (1 - CYCLE_START) * (1 - _cosine_decay(share / CYCLE_SHARE))
    return _cosine_decay((share - CYCLE_SHARE) / (1 - CYCLE_SHARE))
