"""The one file of the golden runs that imports the product: it runs stages in this process and says what they made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data.prepared import hash_sample
from evergreen.data.sources import open_source
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import find_architecture, is_available
from evergreen.stages import pipeline
from evergreen.stages.artifacts import CARD, WEIGHTS, load_model
from evergreen.stages.engines.dvc_code import code_versions
from evergreen.stages.train import cross_validation, plan, worker


@dataclass(frozen=True)
class Run:
    """One pipeline in a folder that holds `pipelines/` and what they read."""

    root: Path
    name: str

    @property
    def paths(self) -> Paths:
        return Paths(self.root, self.name)

    @property
    def asked(self) -> pipeline.Pipeline:
        return pipeline.read(self.name, self.root)

    @property
    def lacking(self) -> str:
        """The extra package that the architecture needs and that is not there, or nothing."""
        kind = find_architecture(self.asked.select.architectures[0])
        return "" if is_available(kind) else str(kind.EXTRA)

    def collect(self) -> Path:
        """Collects and returns the folder of raw rows."""
        pipeline.perform("collect", self.asked, self.paths)
        return self.paths.raw

    def preprocess(self) -> Path:
        """Prepares the rows and returns their folder."""
        pipeline.perform("preprocess", self.asked, self.paths)
        return self.paths.ready

    def train(self) -> None:
        """Chooses the one architecture, trains it without Ray and stores the candidate."""
        torch.set_num_threads(1)
        for stage in ("select", "tune"):
            pipeline.perform(stage, self.asked, self.paths)
        made = cross_validation.limit_folds(self._plan())
        for number in range(made.folds):
            cross_validation.train_fold(made, number)
        if made.folds:
            made = cross_validation.settle(made, cross_validation.load(made))
        elif made.refit:  # a refit takes its thresholds from the same run without the validation rows
            before = dataclasses.replace(made, refit=False).in_folder(Path(made.folder).parent)
            worker.build_trainer(before).run()
        worker.build_trainer(made).run()
        pipeline.perform("train", self.asked, self.paths)

    def batches(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yields the batches of the first epoch as the training run is fed them; the choice has to be made."""
        return iter(worker.build_trainer(self._plan()).train.epoch(0))

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the candidate's tensors by name."""
        return {name: tensor.numpy() for name, tensor in load_file(self.paths.candidate / WEIGHTS).items()}

    def recipe(self) -> dict[str, Any]:
        """Returns every number of the candidate's training, and the options of its architecture and task."""
        card = read_json(self.paths.candidate / CARD)
        return {**card["recipe"], "options": card["options"], "task_options": card["spec"]["task_options"]}

    def scores(self) -> dict[str, float]:
        """Returns the last epoch's record, and the candidate's loss and metrics on the test rows."""
        last = read_json(self.paths.candidate / CARD)["history"][-1]
        model = load_model(self.paths.candidate)
        table = hash_sample(self.paths.ready, "test", 0)
        rows = {name: torch.as_tensor(array) for name, array in model.spec.encode(table, target=True).items()}
        loss, facts = model.network.evaluate(rows)
        test = {"loss": loss, **model.network.task.metrics(*facts)}
        return {**last, **{f"test_{name}": float(value) for name, value in test.items()}}

    def parts(self) -> dict[str, list[str]]:
        """Returns by group the names of what the pipeline is made of: its results may change only with one of them."""
        spec, asked = FeatureSpec.load(self.paths.ready), self.asked
        return {
            "stage": ["collect", "preprocess", "train"],
            "source": [open_source(asked.collect.uri, self.root).reader_version().split()[0]],
            "kind": sorted({field.encoder or field.kind for field in (*spec.inputs.values(), spec.target)}),
            "task": [asked.task],
            "architecture": list(asked.select.architectures),
        }

    def versions(self) -> dict[str, int]:
        """Returns the VERSION of each of `parts` by "group name", such as "source csv"."""
        texts = code_versions(self.asked, self.paths)
        lines = [line.split() for stage in self.parts()["stage"] for line in texts[stage].splitlines()]
        return {f"{group} {name}": int(version) for group, name, version in lines}

    def _plan(self) -> plan.RunPlan:
        return plan.plan_run(self.asked.train, self.paths, self.asked.task)
