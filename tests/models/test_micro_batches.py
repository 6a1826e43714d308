"""Batches that memory does not hold are computed in pieces: memory is really limited, in a process of its own."""

import json
import subprocess
import sys

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.training import micro_batches

TRAIN = """
import json, resource, sys
import torch
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer
from evergreen.stages.checking.sample_inputs import make_network, rows
torch.set_num_threads(1)
torch.backends.mkldnn.enabled = False  # oneDNN has other words for it
limit, accumulate = int(sys.argv[1]), int(sys.argv[2])
count = 2048
train, validation = rows(("number",), "category", count, 0), rows(("number",), "category", 16, 1)
network = make_network("mlp", "classification", ("number",), dropout=0.0, size=384.0, depth=1)
recipe = TrainingConfig(epochs=1, batch_size=count // accumulate, accumulate=accumulate, optimizer="sgd")
loop = Trainer(network, TensorFeed(train, recipe.batch_size), validation, recipe)
if limit:
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (limit << 20), used + (limit << 20)))
loop.run()
print(json.dumps([loop.history, [float(one.double().sum()) for one in loop.best_state().values()]]))
"""


def train(limit_mb: int, accumulate: int = 1):
    """Train in a process that may take so much more memory, 0 for any."""
    command = [sys.executable, "-c", TRAIN, str(limit_mb), str(accumulate)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by RLIMIT_AS")
def test_short_memory_halves_what_is_computed_at_once_and_learns_the_same():
    whole, sums = train(0)
    pieces, other_sums = train(250)
    assert 2 <= pieces[0]["micro_batch"] <= 1024
    assert "micro_batch" not in whole[0]
    assert [record["train_loss"] for record in pieces] == pytest.approx([r["train_loss"] for r in whole], rel=1e-4)
    assert other_sums == pytest.approx(sums, rel=1e-3, abs=1e-3)


def test_too_little_memory_for_the_fewest_rows_is_one_line():
    parts = [{"target": torch.zeros(6)}]
    assert micro_batches.halve(parts, 0, world=1) == 3
    with pytest.raises(ModelError, match="memory does not hold 2 rows at once"):
        micro_batches.halve(parts, 3, world=1)


def test_pieces_hold_every_row_once_and_none_holds_a_single_row():
    parts = [{"target": torch.arange(7), "number": torch.arange(14).view(7, 2)}]
    pieces = micro_batches.split(parts, 2)
    assert [len(piece["target"]) for piece in pieces] == [3, 2, 2]
    assert torch.cat([piece["number"] for piece in pieces]).equal(parts[0]["number"])
