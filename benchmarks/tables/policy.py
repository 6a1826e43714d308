"""Bring a table as a newcomer does, and answer the test rows: every stage's own code, in this process and without Ray.

Trials are functions of rows, seed and plan, not of who runs them, so the choice is that of `evergreen run`; it only
takes one core instead of all. A run is judged by its candidate, released or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

import numpy as np

from benchmarks.tables.opponents import class_scores, number_scores
from evergreen.core.paths import Paths
from evergreen.stages.train import cross_validation, worker
from evergreen.stages.trials import race
from evergreen.stages.trials.trial_worker import Answer, TrialWorker

if TYPE_CHECKING:
    import pandas as pd

NAME = "table"


class _Remote:
    """A worker whose methods answer at once."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._real, name)
        return mock.Mock(remote=call)


class LocalRace(race.Race):
    """A race whose only worker is this process."""

    def __enter__(self) -> Self:
        self.workers = [_Remote(TrialWorker(self.common, {}))]
        return self

    def __exit__(self, *_: object) -> None:
        self.workers = []

    def _schedule(
        self,
        jobs: Sequence[race.Job],
        call: Callable[[Any, race.Job], Any],
        keep: Callable[[race.Job, Answer], None],
        what: str,
    ) -> None:
        for job in jobs:
            keep(job, call(self.workers[0], job))


def fit_here(plan: Any, *_: Any) -> None:
    """Train a plan to its end, as the one worker of Ray Train does."""
    Path(plan.folder).mkdir(parents=True, exist_ok=True)
    worker.build_trainer(plan).run()


def fold_here(plan: Any, *_: Any) -> Any:
    """Train a plan once a fold, as Ray's workers do; return what all folds have answered."""
    for number in range(plan.folds):
        cross_validation.train_fold(plan, number)
    return cross_validation.load(plan)


@contextmanager
def without_ray() -> Iterator[None]:
    """Have select and train do their work in this process."""
    with ExitStack() as stack:
        for place, stand_in in (
            ("stages.trials.race.Race", LocalRace),
            ("stages.trials.trial_worker.lower_priority", lambda: None),
            ("stages.engines.ray_cluster.connect", lambda _: None),
            ("stages.train.ray_train.fit", fit_here),
            ("stages.train.cross_validation.run", fold_here),
        ):
            stack.enter_context(mock.patch(f"evergreen.{place}", stand_in))
        yield


def run(
    train: pd.DataFrame, test: pd.DataFrame, target: str, root: Path, changes: Mapping[str, Mapping[str, Any]] = {}
) -> dict[str, Any]:
    """Return the choice, and its scores on the test rows; `changes` are of the pipeline's sections."""
    from evergreen.api import Model
    from evergreen.cli.commands import new
    from evergreen.data.prepare import suggest
    from evergreen.data.sources import open_source
    from evergreen.stages.artifacts import load_model

    (root / "pipelines").mkdir(parents=True)
    train.to_csv(root / "rows.csv", index=False)
    guess = suggest.suggest_pipeline(new.read_head(open_source("rows.csv", root)), target)
    (root / "pipelines" / f"{NAME}.yaml").write_text(new._yaml("rows.csv", "", target, guess))
    paths = Paths(root, NAME)
    task, chosen, tuned = run_stages(paths, changes)
    model = Model(load_model(paths.candidate), is_quiet=True)
    rows, truth = test.drop(columns=target), test[target].to_numpy()
    if task == "classification":
        answers = dict(zip(map(str, model.classes), model.predict_proba(rows).T, strict=True))
        scores = class_scores(answers, truth.astype(str))
    else:
        scores = number_scores(np.asarray(model.predict(rows)["prediction"]), truth)
    board = [
        {key: entry.get(key) for key in ("architecture", "rung", "score", "scores", "epochs", "reason")}
        for entry in chosen["leaderboard"]
    ]
    facts = {"architecture": chosen["architecture"], "why": chosen["why"], "options": tuned["options"], "board": board}
    return {"scores": scores, "task": task, "unsure": guess["unsure"], **facts}


def run_stages(
    paths: Paths, changes: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """Run a pipeline's stages up to train; return its task, what select has chosen, and what tune has."""
    from evergreen.stages import pipeline
    from evergreen.stages.collect import stage as collect
    from evergreen.stages.preprocess import stage as preprocess
    from evergreen.stages.select import stage as select
    from evergreen.stages.train import stage as training
    from evergreen.stages.tune import stage as tune

    asked = pipeline.read(paths.name, paths.root)
    settings = {name: getattr(asked, name).model_copy(update=dict(changes.get(name, {}))) for name in pipeline.SECTIONS}
    with without_ray():
        collect.run(settings["collect"], paths, task=asked.task)
        preprocess.run(settings["preprocess"], paths, task=asked.task, task_options=asked.task_options)
        chosen = select.run(settings["select"], paths, task=asked.task)
        tuned = tune.run(settings["tune"], paths, task=asked.task)
        training.run(settings["train"], paths, task=asked.task)
    return asked.task, chosen, tuned
