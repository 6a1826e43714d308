"""Choose an architecture: race all that fit the inputs and the task, within a budget in seconds.

Synchronous successive halving (Jamieson and Talwalkar 2016) by a factor of 3 at a constant learning rate: all train a
chunk of epochs, the best third goes on to three times as many. The baseline, where there is one, stays to the end.
Where time is too short for all at once, they race in heats, those that are usually good with such inputs first; that
order decides nothing else.

Then the finalists are trained as the candidate will be, with several seeds as time allows, and the one with fewest
parameters within one standard error of the best is chosen (Breiman et al. 1984).
"""

import time
from typing import Any

from evergreen.core.errors import PipelineError, suggest
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.select.config import SelectConfig

FINALISTS = 2  # besides the baseline; no rung leaves fewer, since a first chunk shows little
RACE_SHARE = 0.5  # of the time; the rest is for the finals

VERSION = 1  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: SelectConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write `choice/select.json` and return it, within `time_budget_s`, whatever is not done by then."""
    started = time.monotonic()
    from evergreen.core.files import write_json
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.engines import ray_cluster, ray_watch

    version = folder_version(paths.ready)
    names = _candidates(config, paths, task)
    progress(stage="select", rung=0, rungs=len(config.rungs), seconds_left=config.time_budget_s)
    contenders: list[Any] = []
    if len(names) > 1 and config.time_budget_s > ray_cluster.WORKERS_AFTER[ray_cluster.status(paths.root)["running"]]:
        ray_cluster.connect(paths.root)
        with ray_watch.raise_outage(paths.root):
            contenders = _race(config, paths, task, names, version, started, progress)
    choice = {**_decide(contenders, names, config, paths), "data_version": version}
    choice["seconds"] = round(time.monotonic() - started, 1)
    write_json(paths.select, choice)
    progress(stage="select", summary=f"{choice['architecture']}: {choice['why']}", seconds=choice["seconds"])
    return choice


def _candidates(config: SelectConfig, paths: Paths, task: str) -> list[str]:
    """Return the names of those that race, the baseline first. Raises PipelineError for one that cannot."""
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import buildable, find_architecture, list_architectures

    spec = FeatureSpec.load(paths.ready)
    if spec.time and config.folds:
        fix = "leave folds out: then each trial is scored with several seeds"
        raise PipelineError("folds: rows in time order cannot be split at random", fix=fix)
    fitting = buildable(spec.inputs, task)
    for name in config.architectures:
        if name not in fitting:
            known = name in list_architectures()
            problem = f"{name} does not fit these inputs and {task}" if known else f"there is no architecture {name!r}"
            raise PipelineError(f"architectures: {problem}", fix=suggest(name, fitting, "those that fit"))
    if len(config.architectures) == 1:
        return config.architectures  # nothing to race
    wanted = set(config.architectures) or set(fitting)
    return [name for name in fitting if name in wanted or find_architecture(name).IS_BASELINE]


def _race(
    config: SelectConfig, paths: Paths, task: str, names: list[str], version: str, started: float, progress: Progress
) -> list[Any]:
    from evergreen.models.registry import find_architecture
    from evergreen.stages.trials.contender import ContenderState
    from evergreen.stages.trials.race import Race
    from evergreen.stages.trials.trial import deciding_metric

    common = (str(paths.ready.resolve()), version, task)
    contenders = [ContenderState(name, config.seed, find_architecture(name).IS_BASELINE) for name in names]
    direction = deciding_metric(paths.ready)[1]
    with Race(common, names[0], started + config.time_budget_s, progress) as race:
        begun = time.monotonic()
        until = begun + RACE_SHARE * (started + config.time_budget_s - begun)
        waiting = contenders
        while waiting and race.has_time(until):
            room = race.max_contenders(until)
            heat, waiting = waiting[:room], waiting[room:]
            _halving_round(race, heat, config, until, direction)
        for contender in waiting:
            contender.reason = f"{config.time_budget_s:g} s are too few for so many: it was not tried"
        ranked = sorted(
            (contender for contender in contenders if contender.score),
            key=lambda contender: (contender.rung, contender.rank(direction)),
        )
        race.run_finals(_promote(ranked[::-1], FINALISTS), config.seeds, config.folds)
    return contenders


def _halving_round(race: Any, alive: list[Any], config: SelectConfig, until: float, direction: str) -> None:
    """Halve successively among those that there is time for at once."""
    for rung, chunks in enumerate(config.rungs, 1):
        alive = race.advance(alive, rung, chunks, until=until, rungs_left=len(config.rungs) - rung + 1)
        if not alive:
            return
        alive.sort(key=lambda contender: contender.rank(direction), reverse=True)
        if rung < len(config.rungs):
            alive = _promote(alive, max(FINALISTS, -(-(len(alive) - 1) // config.reduction_factor)))


def _promote(ranked: list[Any], count: int) -> list[Any]:
    """Return the baseline and the best `count` of its challengers."""
    challengers = [contender for contender in ranked if not contender.is_baseline][:count]
    return [contender for contender in ranked if contender.is_baseline or contender in challengers]


def _decide(contenders: list[Any], names: list[str], config: SelectConfig, paths: Paths) -> dict[str, Any]:
    from evergreen.models.registry import find_architecture
    from evergreen.stages.trials.trial import deciding_metric, sampling_note

    name, direction = deciding_metric(paths.ready)
    board = sorted(
        (contender.to_row() for contender in contenders), key=lambda entry: _leaderboard_key(entry, direction)
    )
    raced = [contender for contender in contenders if contender.rows]
    if len(names) == 1:
        chosen, why = names[0], f"{names[0]} is the only architecture asked for that accepts these inputs"
    elif not raced:
        chosen = names[0]
        what = "the simplest" if find_architecture(chosen).IS_BASELINE else "the first to try"
        why = f"{config.time_budget_s:g} s are too few to compare architectures: it is {what}; give select more seconds"
        failed = [f"{contender.name}: {contender.reason}" for contender in contenders if contender.failed]
        why = f"none could be trained ({'; '.join(failed[:FINALISTS])}): it is {what}" if failed else why
    else:
        chosen, why = _choose(raced, name, direction)
    missed = [one for one in names if one not in {contender.name for contender in contenders}] if len(names) > 1 else []
    for missing in missed:
        blank: dict[str, Any] = dict.fromkeys(("parameters", "score", "standard_error"))
        board.append({"architecture": missing, "epochs": 0, "rung": 0, "scores": [], "seconds": 0.0, **blank})
    folds = max((contender.folds for contender in raced), default=0)
    why += f"; scored over {folds} folds of the training and validation rows" if folds else ""
    why += sampling_note(paths.ready) if raced else ""
    decided = {"architecture": chosen, "why": why, "metric": name, "direction": direction, "leaderboard": board}
    return {**decided, "folds": folds} if folds else decided


def _choose(raced: list[Any], name: str, direction: str) -> tuple[str, str]:
    """Choose the cheapest within one standard error of the best, measured on the same validation rows."""
    sign = 1 if direction == "max" else -1
    furthest = max(one.rung for one in raced)
    finalists = [contender for contender in raced if contender.final]
    finalists = finalists or [contender for contender in raced if contender.rung == furthest or contender.is_baseline]
    best = max(finalists, key=lambda contender: sign * contender.mean)
    close = [contender for contender in finalists if contender is best or contender.paired_gap(best) <= 1]
    chosen = min(close, key=lambda contender: (contender.parameters, -sign * contender.mean))
    others = [contender for contender in finalists if contender is not chosen] or [
        contender for contender in raced if contender is not chosen
    ]
    others.sort(key=lambda contender: -sign * contender.mean)
    if chosen is not best:
        why = (
            f"its {name} of {chosen.mean:.4g} is within one standard error of the best, {best.name}'s {best.mean:.4g} "
            f"(the difference is {chosen.paired_gap(best):.2g} standard errors), at {chosen.parameters:,} parameters "
            f"instead of {best.parameters:,}"
        )
    elif others:
        why = f"best {name}, {chosen.mean:.4g}; next is {others[0].name} with {others[0].mean:.4g}"
        anchor = next((contender for contender in others[1:] if contender.is_baseline), None)
        why += f", and {anchor.name}, the baseline, has {anchor.mean:.4g}" if anchor else ""
    else:
        why = f"the only one that could be scored in time, {name} {chosen.mean:.4g}"
    return chosen.name, why


def _leaderboard_key(entry: dict[str, Any], direction: str) -> tuple[Any, ...]:
    score = entry["score"]
    if score is None:
        return (1, 0, 0)
    return (0, -entry["rung"], -score if direction == "max" else score)
