"""Several processes learn what one learns, also one after the other."""

from __future__ import annotations

import multiprocessing
import runpy
from pathlib import Path

import pytest
import torch

from evergreen.models.training import checkpoint

# Norms by batches see a rank's rows alone, so that a U-Net learns otherwise; the means before its first norm are equal.
SEEN = ("unet.architecture.down.0.0.1.running_mean",)


def run_ranks(script, world, **given):
    """Run a script as so many ranks, to their end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evergreen.models.training.trainer"])
    ranks = [
        context.Process(target=runpy.run_path, args=(script, {"RANK": rank, "WORLD": world, **given}))
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(90)
        assert process.exitcode == 0


RUNS = (  # ranks, updates until it is stopped in the middle of an epoch, who holds which weights
    (4, 4, {}),
    (2, 8, {"parallel": "fsdp", "activation_checkpointing": True}),
    (1, None, {}),
)


@pytest.mark.slow
def test_ranks_that_come_and_go_and_share_the_weights_learn_what_one_learns(tmp_path):
    script, run = str(Path(__file__).with_name("ranked.py")), tmp_path / "elastic"
    run_ranks(script, 1, FOLDER=tmp_path)
    alone, expected = checkpoint.decode((tmp_path / "1-0").read_bytes())
    for world, stop, strategy in RUNS:
        run_ranks(script, world, FOLDER=tmp_path, RUN=run.name, STOP=stop, STRATEGY=strategy)
    found, said = checkpoint.decode((tmp_path / "1-0").read_bytes())
    assert (said["best"], len(said["history"])) == (expected["best"], len(expected["history"]))
    for name, tensor in alone.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)
    max(run.glob("*.safetensors")).unlink()
    place, block = checkpoint.newest(run)
    shards = sorted(place.glob("*.safetensors"))
    assert len(shards) == 2
    assert torch.equal(checkpoint.read(place, block)[0]["weights/task.temperature"], found["task.temperature"])
    shards[1].write_bytes(shards[1].read_bytes()[::-1])
    assert checkpoint.newest(run) is None, "a damaged share is not found out"


@pytest.mark.slow
@pytest.mark.parametrize("hooks", ["ranked", "ranked_hooks"])  # one loss; groups, a warm start, norms
def test_two_ranks_equal_one_process(hooks, tmp_path):
    script = str(Path(__file__).with_name(f"{hooks}.py"))
    runpy.run_path(script, {"RANK": 0, "WORLD": 1, "FOLDER": tmp_path})
    run_ranks(script, 2, FOLDER=tmp_path)
    (one, alone), (first, said), (second, also) = (
        checkpoint.decode((tmp_path / name).read_bytes()) for name in ("1-0", "2-0", "2-1")
    )
    assert said == also, "ranks decided differently"
    assert (said["best"], len(said["history"])) == (alone["best"], len(alone["history"]))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        if not name.startswith("unet.") or name in SEEN:
            torch.testing.assert_close(first[name], tensor, atol=1e-6, rtol=0)
