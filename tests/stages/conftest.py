"""Real data of the four kinds, prepared and learned from in seconds, for every test that needs a candidate."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
import torch

from evergreen.core.paths import Paths
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split, load_split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.models.registry import build
from evergreen.models.registry import find_architecture as find
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.stages.artifacts import save_model
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.preprocess import stage as preprocess

SOURCES = {
    "breast_cancer": ("classification", "sklearn:breast_cancer", {"target": "diagnosis"}),
    "diabetes": ("regression", "sklearn:diabetes", {"target": "progression"}),
    "digits": ("classification", "sklearn:digits", {"target": "digit"}),
    "sunspots": (
        "forecasting",
        "statsmodels:sunspots",
        {"target": "activity", "time": "year", "window": 12, "validate_from": 1880, "test_from": 1921},
    ),
}


def train(paths: Paths, folder: Path, *, epochs: int, architecture: str = "linear", seed: int = 0) -> Path:
    """A candidate as the train stage leaves it."""
    torch.set_num_threads(1)
    spec, _ = load_split(paths.ready, "train")
    recipe = TrainingConfig(**{**find(architecture).DEFAULTS, "epochs": epochs, "seed": seed})
    torch.manual_seed(seed)
    network = build(architecture, spec.task, spec.inputs, spec.target)
    feed = InMemoryBatches(load_encoded_split(paths.ready, "train"), recipe.batch_size, seed=seed, shuffle=True)
    loop = Trainer(network, feed, load_encoded_split(paths.ready, "validation"), recipe)
    loop.run()
    network.load_state_dict(loop.best_state())
    card = {"architecture": architecture, "task": spec.task, "options": {}, "spec": spec.to_json(), "seed": seed}
    card |= {"recipe": dataclasses.asdict(recipe), "history": loop.history, "parameters": 1, "data_version": "d"}
    save_model(folder, network, card)
    return folder


@pytest.fixture(scope="session")
def candidates(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    for name, (task, uri, settings) in SOURCES.items():
        paths = Paths(root, name)
        collect.run(CollectConfig(uri=uri), paths, task=task)
        preprocess.run(PreprocessConfig(**settings), paths, task=task)
        train(paths, paths.candidate, epochs=4 if name == "digits" else 40)
    return root


@pytest.fixture(scope="session", name="train")
def trainer():
    return train


@pytest.fixture(scope="module")
def serve_models(tmp_path_factory, random_model):
    """Load untrained models of digits, sizes and photos into an endpoint, each with these limits."""

    def serve(limits, **config):
        entries = {}
        for name in ("digits", "sizes", "photos"):
            folder = tmp_path_factory.mktemp(name)
            random_model(name, folder, 1)
            entries[name] = {"version": "v1.0.0", "path": str(folder), "limits": limits}
        made = Endpoint()
        asyncio.run(made.reconfigure({"revision": "1", "hosts": [], "pipelines": entries, **config}))
        assert not made.failures
        return made

    return serve
