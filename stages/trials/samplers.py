"""Ask Optuna's samplers for the points of a batch, and which options mattered.

A study is made anew for each batch from the ledger's trials, in the order of their numbers, and its sampler's seed
follows from the search's and the batch's number; nothing else is kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.stages.trials.space import Search, distribution, excess, is_inside

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

BATCH = 4  # trials that are proposed at once, whatever the number of workers
MIN_JUDGED = 8  # trials, below which no importance is told
TOP_TRIALS = 5  # at least, that importance calls good
Entry = Mapping[str, Any]


def check_sampler(name: str) -> None:
    """Raise PipelineError where a sampler's package is not installed."""
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        fix = "pip install cmaes, or use tpe, random or gp"
        raise PipelineError("sampler: cmaes needs the package cmaes", place="tune", fix=fix)


def propose(search: Search, done: Mapping[int, Entry], batch: int) -> list[dict[str, Any]]:
    """Return the options of a batch's trials, the defaults first."""
    space = {name: distribution(choice) for name, choice in search.choices().items()}
    if search.sampler == "cmaes":
        study = _replay(search, space, done, batch)
    else:
        study = _recall(search, space, [done[number] for number in range(batch * BATCH)], _seed(search, batch))
    points = [study.ask(space).params for _ in range(BATCH)]
    return [dict(search.defaults), *points[1:]] if batch == 0 else points


def weigh_options(search: Search, entries: Sequence[Entry]) -> dict[str, float]:
    """Return how much each option mattered to the score, shares that sum to 1; {} where that is too early to say.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023): where the best trials lie, against where all do.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    space = {name: distribution(choice) for name, choice in search.choices().items()}
    scored = [entry for entry in entries if entry["score"] is not None and _is_known(search, entry)]
    if len(space) < 2 or len(scored) < MIN_JUDGED:
        return {}
    single = Search(**{**vars(search), "objective": (), "constraints": ()})
    study = _recall(single, space, scored, 0)
    judge = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, TOP_TRIALS / len(scored))))
    return {name: round(share, 4) for name, share in get_param_importances(study, evaluator=judge).items()}


def _recall(search: Search, space: Mapping[str, Any], entries: Sequence[Entry], seed: int) -> Study:
    """Return a study that knows these trials."""
    from optuna.trial import create_trial

    study = _create(search, seed)
    worst = min((entry["rank"] for entry in entries if entry["rank"] is not None), default=0.0)
    for entry in entries:
        if not _is_known(search, entry) or (entry["rank"] is None and "counts" not in entry):
            continue  # it failed, or no sampler can place it
        rank = worst if entry["rank"] is None else entry["rank"]
        values = [rank, *(entry["counts"][one] for one in search.objective)]
        limits = {one: excess(one, entry["counts"]) for one in search.constraints}
        known = {"params": dict(entry["options"]), "distributions": space}
        study.add_trial(create_trial(values=values, constraints=limits or None, **known))
    return study


def _replay(search: Search, space: Mapping[str, Any], done: Mapping[int, Entry], batch: int) -> Study:
    """Return a study whose sampler proposed all batches before: CMA-ES moves on from what it proposed itself."""
    from optuna.trial import TrialState

    study = _create(search, _seed(search, 0))
    if all(is_inside(choice, search.defaults[name]) for name, choice in search.choices().items()):
        study.enqueue_trial(search.defaults)
    for first in range(0, batch * BATCH, BATCH):
        for number, trial in enumerate([study.ask(space) for _ in range(BATCH)], first):
            rank = done[number]["rank"] if done[number]["options"] == trial.params else None
            study.tell(trial, rank, state=TrialState.FAIL if rank is None else TrialState.COMPLETE)
    return study


def _is_known(search: Search, entry: Entry) -> bool:
    """Tell whether a trial lies in what is searched; the defaults may not, where the YAML says ranges of its own."""
    return all(is_inside(choice, entry["options"].get(name)) for name, choice in search.choices().items())


def _create(search: Search, seed: int) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = ["maximize", *("minimize" for _ in search.objective)]
    return optuna.create_study(sampler=_make_sampler(search.sampler, seed), directions=directions)


def _make_sampler(name: str, seed: int) -> BaseSampler:
    from optuna import samplers

    match name:
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=BATCH, warn_independent_sampling=False)
        case "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return samplers.TPESampler(seed=seed, constant_liar=True)


def _seed(search: Search, batch: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{search.seed} {batch}".encode(), digest_size=4).digest())
