"""Killed at any moment and started again, training ends with the very weights of a run that was left alone."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.artifacts import save_model
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.train import cross_validation, worker
from evergreen.stages.train import stage as train
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.tune import stage as tune
from evergreen.stages.tune.config import TuneConfig

REPOSITORY = Path(__file__).resolve().parents[2]
PARAMS = TrainConfig(epochs=30, batch_size=4, checkpoint_seconds=0.25, train_on_validation=False)
STEPS = 65  # of an epoch: 261 training rows, of which a last one alone is left out

DRIVER = """
import dataclasses, json, sys
from pathlib import Path
from evergreen.core import paths
from evergreen.stages.train import stage as train
from evergreen.stages.train.config import TrainConfig
params = TrainConfig(**json.loads(sys.argv[2]))
train.run(params, paths.Paths(Path(sys.argv[1]), sys.argv[3]), task="regression")
"""


@pytest.fixture(scope="module")
def prepared(clone):
    paths = Paths(clone, "diabetes")
    collect.run(CollectConfig(uri="sklearn:diabetes"), paths, task="regression")
    preprocess.run(PreprocessConfig(target="progression"), paths, task="regression")
    write_json(paths.select, {"architecture": "mlp"})
    return paths


def alone(params, paths):
    """The weights of the same run without Ray and without an interruption."""
    plan = plan_run(params, paths, "regression")
    plan = dataclasses.replace(plan, folder=str(paths.home / "alone" / plan.key()))
    torch.set_num_threads(1)
    loop = worker.build_trainer(plan)
    loop.run()
    loop.network.load_state_dict(loop.best_state())
    save_model(dataclasses.replace(paths, name="alone").candidate, loop.network, train._model_card(plan, loop))
    return bytes_of(dataclasses.replace(paths, name="alone"))


def bytes_of(paths):
    return {one.name: one.read_bytes() for one in paths.candidate.iterdir()}


def wait_until_midway(folder, epochs=3, seconds=120):
    """Returns when a checkpoint in the middle of an epoch is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for file in folder.glob("step-*.safetensors"):
            step = int(file.stem.partition("-")[2])
            if step > epochs * STEPS and step % STEPS:
                return step
        time.sleep(0.005)
    raise TimeoutError("training did not come so far")


def epochs_told(folder):
    lines = (folder / "progress.jsonl").read_text().splitlines()
    return [entry["epoch"] for entry in map(json.loads, lines) if "train_loss" in entry]


def folder_of(params, paths):
    return Path(plan_run(params, paths, "regression").folder)


def went_on(folder, epochs=3):
    """No epoch before the checkpoint that was seen was ended again: how many after it were, the disk decides."""
    told = epochs_told(folder)
    return all(told.count(epoch) == 1 for epoch in range(1, epochs + 1)) and told[-1] == PARAMS.epochs


def test_a_killed_run_goes_on_where_it_was(prepared):
    params = PARAMS.model_copy(update={"seed": 2})
    folder = folder_of(params, prepared)
    values = params.model_dump_json()
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(prepared.root), values, prepared.name],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    wait_until_midway(folder)
    driver.kill()
    driver.wait()
    assert epochs_told(folder)[-1] < PARAMS.epochs
    train.run(params, prepared, task="regression")
    assert went_on(folder), epochs_told(folder)
    assert bytes_of(prepared) == alone(params, prepared)
    assert train.run(params, prepared, task="regression")["reused"]


def test_a_killed_worker_is_replaced_and_nothing_changes(prepared):
    params = PARAMS.model_copy(update={"workers": 2, "epochs": 8})
    train.run(params, prepared, task="regression")
    undisturbed = bytes_of(prepared)
    folder, killed = folder_of(params, prepared), []
    for file in folder.iterdir():
        file.unlink()

    def kill():
        wait_until_midway(folder, epochs=1)
        killed.append(int((folder / ".lock").read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert not train.run(params, prepared, task="regression")["reused"]
    killer.join()
    assert (folder / ".lock").read_text() == ""  # another worker took it over, and gave it back
    assert epochs_told(folder).count(1) == 1  # the second group did not begin anew
    assert bytes_of(prepared) == undisturbed


def test_folds_on_rays_cores_answer_as_folds_trained_here(prepared):
    params = TrainConfig(epochs=3)
    train.run(params, prepared, task="regression")
    under_ray = bytes_of(prepared)
    plan = cross_validation.limit_folds(plan_run(params, prepared, "regression"))
    file = plan.fold_file(4)
    answers = file.read_bytes()
    file.unlink()
    torch.set_num_threads(1)
    cross_validation.train_fold(plan, 4)
    assert file.read_bytes() == answers
    assert train.run(params, prepared, task="regression")["reused"]
    assert bytes_of(prepared) == under_ray


def test_what_only_a_worker_sees_to_be_wrong_is_one_clear_message(clone):
    paths, images = Paths(clone, "seen"), clone / "photos"
    for number in range(40):
        folder = images / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 + 5 * number).save(folder / f"{number}.png")
    (clone / "vit").mkdir()
    layers = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = {"model_type": "vit", "image_size": 8, "patch_size": 4, **layers}
    (clone / "vit" / "config.json").write_text(json.dumps(config))
    collect.run(CollectConfig(uri="photos"), paths)
    kinds = {"image": {"kind": "image", "source": str(clone / "vit")}}
    preprocess.run(PreprocessConfig(target="label", kinds=kinds, leakage_checks="off"), paths, task="classification")
    write_json(paths.select, {"architecture": "pretrained"})
    tuned = tune.run(TuneConfig(time_budget_s=300, trials=1), paths, task="classification")
    assert re.match(r"every trial failed \(pretrained .*vit: .*safetensors.*\), so the defaults stay", tuned["why"])
    with pytest.raises(PipelineError, match=r"pretrained .*vit: .*safetensors"):
        train.run(TrainConfig(epochs=1), paths, task="classification")
