"""What the shipped pipelines reach on rows nothing has seen, each beside a simple opponent of the same split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evergreen.core.paths import Paths
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split, load_split
from evergreen.models.registry import build
from evergreen.models.training.trainer import Trainer
from evergreen.stages import pipeline
from evergreen.stages.collect import stage as collect
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.trials.folds import default_folds
from evergreen.stages.trials.trial import split_config_and_options
from evergreen.stages.validate.reference_models import fit_reference

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
WINDOWS = ((1921, 1955), (1956, 1979))


class Reached:
    """A pipeline's rows, and an architecture trained on them by its own recipe."""

    def __init__(self, folder: Path, name: str, architecture: str) -> None:
        asked, paths = pipeline.read(name, ROOT), Paths(folder, name)
        collect.run(asked.collect, paths)
        preprocess.run(asked.preprocess, paths, task=asked.task)
        spec, self.test = load_split(paths.ready, "test")
        train, validation, test = (load_encoded_split(paths.ready, split) for split in ("train", "validation", "test"))
        recipe, _ = split_config_and_options(architecture, {})
        torch.manual_seed(0)
        network = build(architecture, asked.task, spec.inputs, spec.target)
        seen = {key: np.concatenate([train[key], validation[key]]) for key in train}
        rows = seen if asked.train.train_on_validation or default_folds(spec, paths.ready) else train
        loop = Trainer(network, InMemoryBatches(rows, recipe.batch_size, seed=0, shuffle=True), validation, recipe)
        loop.run()
        network.load_state_dict(loop.best_state())
        self.task, self.target = network.task, torch.as_tensor(test["target"])
        self.output = network.compute_outputs({key: torch.as_tensor(value) for key, value in test.items()})
        found = fit_reference(spec, seen, test)
        assert found
        self.opponent = torch.as_tensor(found[1]).float()

    def metrics(self, output: Any = None) -> dict[str, float]:
        return self.task.metrics(self.output if output is None else output, self.target)


def test_digits(tmp_path: Path) -> None:
    reached = Reached(tmp_path, "digits", "cnn")
    assert reached.metrics()["accuracy"] >= 0.985  # of 360 rows; one more or less is 0.003
    assert reached.metrics()["accuracy"] > reached.metrics(reached.opponent)["accuracy"]


def test_breast_cancer(tmp_path: Path) -> None:
    reached = Reached(tmp_path, "breast_cancer", "linear").metrics()
    assert reached["accuracy"] >= 0.965
    assert reached["auc"] >= 0.992


def test_diabetes_is_as_good_as_ridge(tmp_path: Path) -> None:
    reached = Reached(tmp_path, "diabetes", "linear")
    assert reached.metrics()["r2"] >= reached.metrics(reached.opponent)["r2"] - 0.02


def test_sunspots_a_year_ahead_beat_an_autoregression_of_the_counts(tmp_path: Path) -> None:
    from statsmodels.datasets import sunspots
    from statsmodels.tsa.ar_model import AutoReg

    reached = Reached(tmp_path, "sunspots", "linear")
    years = np.array(reached.test.column("_time").to_pylist())
    ours = reached.task.row_scores(reached.output, reached.target).numpy()
    known = sunspots.load_pandas().data
    counts, when = known["SUNACTIVITY"].to_numpy(), known["YEAR"].to_numpy()
    fitted = AutoReg(counts[when <= 1920], lags=9).fit()
    model = AutoReg(counts, lags=9).predict(fitted.params, start=0, end=len(counts) - 1)
    theirs = {int(year): (guess - count) ** 2 for year, guess, count in zip(when, model, counts, strict=True)}
    windows = [list(range(first, last + 1)) for first, last in WINDOWS]
    mine = [ours[np.isin(years, window)].mean() for window in windows]
    simple = [np.mean([theirs[year] for year in window]) for window in windows]
    assert np.mean(simple) / 1535 == pytest.approx(0.2325, abs=0.002)  # the opponent is the one that is published
    assert np.mean(mine) < np.mean(simple)
