"""What the loop promises, each promise on a run of a second at most."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.training import checkpoint
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.learning_rate import learning_rate_at
from evergreen.models.training.strategy import Strategy
from evergreen.models.training.trainer import Trainer


@pytest.fixture
def started(network, make):
    """Start a loop over 40 rows that can be learned, always from the same weights."""

    def start(recipe: TrainingConfig, rows: int = 40, **options) -> Trainer:
        train, validation = make(("number",), "category", rows, 0), make(("number",), "category", 40, 1)
        dropout = options.pop("dropout", 0.2)
        return Trainer(
            network(dropout=dropout, size=0.25),
            TensorFeed(train, recipe.batch_size, seed=recipe.seed),
            validation,
            recipe,
            **options,
        )

    return start


def equal(one: Trainer, other: Trainer) -> bool:
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return one.history == other.history and all(torch.equal(a, b) for a, b in pairs)


def test_stops_at_the_deadline_and_goes_on_from_there(started):
    recipe = TrainingConfig(epochs=4, batch_size=8)
    whole, halting = started(recipe), started(recipe)
    whole.run()
    halting.run(deadline=time.monotonic())
    assert (halting.step, halting.is_finished) == (0, False)
    while not halting.is_finished:
        halting.run(epochs=2 if halting.epoch < 2 else None, deadline=time.monotonic() + 0.01)
    assert equal(whole, halting)


def test_parts_of_a_step_make_the_gradient_of_the_whole(started):
    one = started(TrainingConfig(epochs=2, batch_size=20), dropout=0.0)
    parts = started(TrainingConfig(epochs=2, batch_size=5, accumulate=4), dropout=0.0)
    one.run()
    parts.run()
    assert one.step == parts.step == 4
    for a, b in zip(one.best_state().values(), parts.best_state().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_patience_ends_a_run_that_does_not_improve(started):
    loop = started(TrainingConfig(epochs=50, learning_rate=1e-9, patience=3))
    loop.run()
    assert loop.is_finished
    assert loop.epoch < 50
    assert loop.epoch == max(loop.history, key=loop.history.sort_key)["epoch"] + 3


def test_keeps_the_best_epoch_or_the_last(started):
    best, last = (
        started(TrainingConfig(epochs=12, learning_rate=0.1, keep=keep, schedule="constant"))
        for keep in ("best", "last")
    )
    for loop in (best, last):
        loop.run()
    record = max(best.history, key=lambda record: (-record["log_loss"], -record["validation_loss"]))
    assert best.best is not None
    assert best.best[0] == record["epoch"]
    assert last.best is not None
    assert last.best[0] == 12
    best.network.load_state_dict(best.best_state())
    validation = best.validation
    assert (
        best.network.task.metrics(best.network.compute_outputs(validation), validation["target"])["accuracy"]
        == record["accuracy"]
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns(started, precision):
    loop = started(TrainingConfig(epochs=15, batch_size=8, precision=precision, clip=1.0, learning_rate=1e-2))
    loop.run()
    assert loop.history[-1]["train_loss"] < 0.6 * loop.history[0]["train_loss"]
    assert all(weight.dtype == torch.float32 for weight in loop.network.parameters())


@pytest.mark.parametrize("practice", [{"ema": 0.9}, {"swa": 0.5}], ids=repr)
def test_averages_begin_at_the_weights_that_a_warm_start_sets(network, make, practice):
    rows = make(("number",), "category", 16)
    loop = Trainer(network("rbf"), TensorFeed(rows, 8), rows, TrainingConfig(epochs=1, **practice))
    assert not torch.equal(loop.network.state_dict()["architecture.centres"], network("rbf").architecture.centres)
    for name, weights in loop.network.state_dict().items():
        assert torch.equal(loop.best_state()[name], weights) or weights.isnan().any(), name


def test_learning_rate_climbs_then_falls_to_nothing():
    recipe = TrainingConfig(learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate_at(recipe, step, 100) for step in range(101)]
    assert rates[0] < 0.1 < 1.0 == max(rates) == rates[10]
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0)
    assert {learning_rate_at(recipe.replace(schedule="constant"), step, 100) for step in range(100)} == {1.0}


def test_a_damaged_checkpoint_is_skipped(started, tmp_path):
    recipe = TrainingConfig(epochs=3, batch_size=8, checkpoint_seconds=0)
    whole = started(recipe, folder=tmp_path)
    whole.run()
    old, new = sorted(tmp_path.iterdir())
    content = new.read_bytes()
    for damaged in (
        content[:-1],
        content[: len(content) // 2],
        b"",
        content[:-9] + b"\x00" + content[-8:],
        content[4:],
    ):
        new.write_bytes(damaged)
        assert checkpoint.newest(tmp_path) == (old, old.read_bytes())
    again = started(recipe, folder=tmp_path)
    assert again.step <= whole.step
    again.run()
    assert equal(whole, again)


def test_checkpoints_of_another_run_are_not_taken(started, tmp_path, caplog):
    started(TrainingConfig(epochs=1), folder=tmp_path).run()
    assert started(TrainingConfig(epochs=1), folder=tmp_path).is_finished
    assert started(TrainingConfig(epochs=1, learning_rate=0.5), folder=tmp_path).step == 0
    assert "another run" in caplog.text


def test_safetensors_reads_a_checkpoint(started, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    loop = started(TrainingConfig(epochs=1), folder=tmp_path)
    loop.run()
    read = safetensors.load_file(next(tmp_path.glob("*.safetensors")))
    for name, tensor in loop.network.state_dict().items():
        assert torch.equal(read[f"weights/{name}"], tensor)


def test_tensors_of_every_type_come_back():
    tensors = {name: torch.arange(6).reshape(2, 3).to(dtype) for name, dtype in checkpoint.DTYPES.items()}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.empty(0, 3), "turned": torch.arange(6.0).reshape(2, 3).T}
    back, state = checkpoint.decode(checkpoint.encode(tensors, {"b": 1, "a": [None, "é"]}))
    assert list(state) == ["b", "a"]
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_a_loss_that_is_no_number_is_said(started):
    loop = started(TrainingConfig(epochs=2))
    loop.validation["number"][0] = math.inf
    loop.train.columns["number"][:] = math.nan
    with pytest.raises(ModelError, match="lower learning_rate"):
        loop.run()


def test_a_feed_that_ends_early_is_said(started):
    loop = started(TrainingConfig(epochs=1, batch_size=8))
    loop.train.steps = lambda: 9
    with pytest.raises(ModelError, match="5 of 9 batches"):
        loop.run()


def test_reports_each_epoch_with_its_metrics(started):
    reports = []
    started(TrainingConfig(epochs=3), report=reports.append).run()
    assert [report["epoch"] for report in reports] == [1, 2, 3]
    assert {"epochs", "samples_per_second", "seconds_left", "accuracy", "train_loss"} <= set(reports[0])
    assert reports[-1]["seconds_left"] == 0
    assert {part.split()[0] for part in reports[-1]["time"].split(", ")} == {"steps", "data", "validation"}


def test_a_trace_of_ten_steps_is_left(started, tmp_path):
    recipe = TrainingConfig(epochs=2, batch_size=4, keep="last")
    started(recipe, folder=tmp_path, strategy=Strategy(profile=True)).run()
    events = json.loads((tmp_path / "trace-0.json").read_text())["traceEvents"]
    assert any("backward" in event.get("name", "").lower() for event in events)


@pytest.mark.parametrize("wrong", [{"optimizer": "adamm"}, {"epochs": 0}, {"learning_rate": 0}, {"weight_decay": -1}])
def test_a_wrong_recipe_is_refused(wrong):
    with pytest.raises(ModelError) as error:
        TrainingConfig(**wrong)
    assert error.value.fix
    assert next(iter(wrong)) in str(error.value)


def test_a_misspelt_name_in_a_recipe_is_refused():
    with pytest.raises(ModelError, match="did you mean 'learning_rate'"):
        TrainingConfig().replace(learningrate=1)


@pytest.mark.slow
def test_trains_on_a_machine_without_numpy(tmp_path):
    block = "import sys, runpy, pathlib; sys.modules.update(numpy=None, safetensors=None)\n"
    result = f"pathlib.Path({str(tmp_path / 'r')!r})"
    run = f"runpy.run_path('tests/models/killable.py', {{'FOLDER': None, 'RESULT': {result}}})"
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", block + run],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    assert (tmp_path / "r").exists()


class Spoiled(TensorFeed):
    """Feed rows of which one batch of an epoch is not what it should be."""

    factor, batch = math.nan, 3

    def epoch(self, number, start=0):
        """Yield an epoch's batches, one of them spoiled."""
        for index, batch in enumerate(super().epoch(number, start), start):
            yield batch | {"number": batch["number"] * self.factor} if index == self.batch else batch


def spoil(loop: Trainer, **facts) -> Trainer:
    """Let one batch of each epoch be spoiled, of 5."""
    loop.train = type("Spoiled", (Spoiled,), facts)(loop.train.columns, 8)
    return loop


def test_a_batch_that_is_no_number_makes_no_step_and_is_told(started):
    loop = spoil(started(TrainingConfig(epochs=3, batch_size=8)))
    loop.run()
    assert [record["skipped_rows"] for record in loop.history] == [8, 8, 8]
    assert all(math.isfinite(record["train_loss"]) for record in loop.history)
    assert all(weights.isfinite().all() for name, weights in loop.best_state().items() if name != "task.margin")


def test_batches_that_are_mostly_no_number_end_training_in_words(started):
    loop = started(TrainingConfig(epochs=3, batch_size=8))
    loop.train.columns["number"][:] = math.nan
    with pytest.raises(ModelError, match="most batches of epoch 1 is not a number"):
        loop.run()


def test_a_leap_makes_no_step_where_that_is_asked_for(started):
    recipe = TrainingConfig(epochs=4, batch_size=8, grad_spike_factor=20.0, lr_after_skip=0.5)
    loop = spoil(started(recipe, dropout=0.0), factor=1e6)
    loop.run()
    assert sum(record.get("skipped_rows", 0) for record in loop.history) >= 8
    rate = next(iter(loop._state.optimizers.values()))[0].param_groups[0]["lr"]
    calm = spoil(started(recipe.replace(lr_after_skip=1.0), dropout=0.0), factor=1e6)
    calm.run()
    assert rate < next(iter(calm._state.optimizers.values()))[0].param_groups[0]["lr"]


def test_a_batch_that_is_passed_over_leaves_no_mark_on_the_statistics_of_norms(network, make):
    made, rows = network("cnn", kinds=("image",), size=0.25), make(("image",), "category", 16)
    made.architecture.add_module("norm", torch.nn.BatchNorm1d(made.architecture.out_features))
    made.architecture.mix.append(made.architecture.norm)
    feed = TensorFeed(rows | {"image": rows["image"].float()}, 4)
    feed.columns["image"][0] = math.nan
    Trainer(made, feed, make(("image",), "category", 16, 1), TrainingConfig(epochs=1, batch_size=4)).run()
    assert made.architecture.norm.running_mean.isfinite().all()


def test_a_run_goes_on_behind_a_batch_that_was_passed_over_with_the_same_bytes(started, tmp_path):
    recipe = TrainingConfig(epochs=3, batch_size=8, lr_after_skip=0.5, grad_spike_factor=20.0)
    whole = spoil(started(recipe))
    whole.run()
    spoil(started(recipe, folder=tmp_path)).run(steps=7)
    rest = spoil(started(recipe, folder=tmp_path))
    rest.run()
    assert rest.history == whole.history
    for name, weights in rest.best_state().items():
        assert torch.equal(weights, whole.best_state()[name]), name
