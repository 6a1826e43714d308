"""Two processes learn what one learns."""

from __future__ import annotations

import multiprocessing
import runpy
from pathlib import Path

import pytest
import torch

from evergreen.models.training import checkpoint

# Norms by batches see a rank's rows alone, so that a U-Net learns otherwise; the means before its first norm are equal.
SEEN = ("unet.architecture.down.0.0.1.running_mean",)


@pytest.mark.slow
@pytest.mark.parametrize("hooks", ["ranked", "ranked_hooks"])  # one loss; groups, a warm start, norms
def test_two_ranks_equal_one_process(hooks, tmp_path):
    script = str(Path(__file__).with_name(f"{hooks}.py"))
    runpy.run_path(script, {"RANK": 0, "WORLD": 1, "FOLDER": tmp_path})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evergreen.models.training.trainer"])
    ranks = [
        context.Process(target=runpy.run_path, args=(script, {"RANK": rank, "WORLD": 2, "FOLDER": tmp_path}))
        for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(90)
        assert process.exitcode == 0
    (one, alone), (first, said), (second, also) = (
        checkpoint.decode((tmp_path / name).read_bytes()) for name in ("1-0", "2-0", "2-1")
    )
    assert said == also, "ranks decided differently"
    assert (said["best"], len(said["history"])) == (alone["best"], len(alone["history"]))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        if not name.startswith("unet.") or name in SEEN:
            torch.testing.assert_close(first[name], tensor, atol=1e-6, rtol=0)
