"""A run that is killed ends with the very bytes of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import runpy
import signal
import time
from pathlib import Path

import pytest
import torch

from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer

KILLS = 3
SCRIPT = str(Path(__file__).with_name("killable.py"))


@pytest.fixture(scope="module")
def processes():
    """Starts real processes; torch is imported once, by the server that forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evergreen.models.training.trainer"])
    return context


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(processes, tmp_path):
    runpy.run_path(SCRIPT, {"FOLDER": None, "RESULT": tmp_path / "whole"})
    killed = 0
    while not (tmp_path / "killed").exists():
        process = processes.Process(
            target=runpy.run_path, args=(SCRIPT, {"FOLDER": tmp_path / "run", "RESULT": tmp_path / "killed"})
        )
        process.start()
        if killed < KILLS and _wrote_more(tmp_path / "run", process):
            time.sleep(random.uniform(0, 0.05))
            process.kill()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
    assert killed >= 2, "the run was too fast to be killed"
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()


def _wrote_more(folder: Path, process: multiprocessing.process.BaseProcess) -> bool:
    """Waits until the process has written a few checkpoints; False if it ended before."""
    before = _newest(folder)
    while _newest(folder) < before + 4:
        if not process.is_alive():
            return False
        time.sleep(0.002)
    return True


def _newest(folder: Path) -> int:
    return max((int(file.stem.removeprefix("step-")) for file in folder.glob("*.safetensors")), default=0)


class CutError(Exception):
    """Something ends the process."""


@pytest.mark.parametrize(
    "practice",
    [
        *({"optimizer": name} for name in ("adamw", "adam", "sgd", "rmsprop", "muon")),
        *({"schedule": name} for name in ("cosine", "constant", "one_cycle", "plateau")),
        {"swa": 0.5},
        {"ema": 0.9},
        {"mixup": 0.3},
        {"layer_decay": 0.5},
        {"optimizer": "muon", "schedule": "plateau", "swa": 0.3, "mixup": 0.2, "clip": 1.0, "accumulate": 2},
    ],
    ids=repr,
)
def test_every_practice_goes_on_exactly(practice, network, make, tmp_path):
    recipe = TrainingConfig(
        epochs=4, batch_size=8, learning_rate=0.02, checkpoint_seconds=0, plateau_patience=1, **practice
    )
    whole, cut = (_loop(recipe, network, make, tmp_path / name) for name in ("whole", "cut"))
    whole.run()
    cut.train.epoch = _cut_short(cut.train.epoch)
    with pytest.raises(CutError):
        cut.run()
    again = _loop(recipe, network, make, tmp_path / "cut")
    assert 0 < again.step < whole.step
    again.run()
    assert again.history == whole.history
    for one, other in zip(whole.best_state().values(), again.best_state().values(), strict=True):
        assert torch.equal(one, other)


def _loop(recipe: TrainingConfig, network, make, folder: Path) -> Trainer:
    train, validation = (make(("number",), "category", 40, seed) for seed in (0, 1))
    feed = TensorFeed(train, recipe.batch_size)
    return Trainer(network(dropout=0.2, size=0.25), feed, validation, recipe, folder=folder)


def _cut_short(epoch):
    """The feed's epochs, the third of which breaks off."""

    def batches(number, start=0):
        for place, batch in enumerate(epoch(number, start)):
            if (number, place) == (2, 4):
                raise CutError
            yield batch

    return batches
