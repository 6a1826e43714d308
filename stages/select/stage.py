"""Choose an architecture: race all that fit the inputs and the task, by a plan that no clock decides.

Synchronous successive halving (Jamieson and Talwalkar 2016) by a factor of 3 at a constant learning rate: all train by
equal work, the best third goes on, and those that may still reach it. The baseline, where there is one, stays to the
end. Then the finalists are trained as the candidate will be, with several seeds, and of those within one standard error
of the best the one is chosen whose answer is the least work, then the one with fewest parameters (Breiman et al. 1984),
as long as that is expected to cost next to nothing.

How far each trains follows from the rows, the settings and the work that a network is (stages/trials/race_plan.py).
Where a limit of seconds cuts the plan off, the choice is provisional: it says so, only a person may release it, and the
next run goes on from there.
"""

import time
from collections.abc import Sequence
from typing import Any

from evergreen.core.errors import PipelineError, suggest
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.select.config import SelectConfig
from evergreen.stages.select.selection import decide
from evergreen.stages.trials import race_plan as plan

VERSION = 9  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(config: SelectConfig, paths: Paths, *, task: str, progress: Progress = no_progress) -> dict[str, Any]:
    """Write `choice/select.json` and return it.

    Raises PipelineError where `time_budget_s` is too short to compare the baseline with two others.
    """
    started = time.monotonic()
    from evergreen.core.files import write_json
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.engines import ray_cluster, ray_watch
    from evergreen.stages.trials.ledger import Ledger

    version = folder_version(paths.ready)
    names = _candidates(config, paths, task)
    contenders: list[Any] = []
    ledger = Ledger(paths.races, {"data": version, "task": task})
    ledger.prune()
    left, note = None, ""
    if len(names) > 1:
        ray_cluster.connect(paths.root)
        with ray_watch.raise_outage(paths.root):
            contenders, left, note = _race(config, paths, task, names, ledger, started, progress)
    choice = {**decide(contenders, names, paths, left), "data_version": version}
    choice["why"] += note
    if left is not None:
        _check_compared(contenders, time.monotonic() - started, left)
        ledger.count_cut()
        choice["provisional"] = f"its plan was cut off, with about {left:.0f} s to go"
    choice["cuts"] = ledger.cuts()
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
    config: SelectConfig, paths: Paths, task: str, names: list[str], ledger: Any, started: float, progress: Progress
) -> tuple[list[Any], float | None, str]:
    """Return the contenders, the seconds that are left of a plan that was cut off, else None, and what to tell."""
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import find_architecture, find_task, is_tried_first
    from evergreen.stages.code_version import learned_code_version
    from evergreen.stages.engines.shared_storage import share_folder
    from evergreen.stages.trials import longer_training
    from evergreen.stages.trials.contender import ContenderState
    from evergreen.stages.trials.folds import default_folds, is_table
    from evergreen.stages.trials.race import Race
    from evergreen.stages.trials.trial import deciding_metric, max_rows, sampling_note

    spec = FeatureSpec.load(paths.ready)
    contenders = []
    for name in names:
        code = learned_code_version("select", spec.to_json(), task, name)
        contenders.append(ContenderState(name, config.seed, find_architecture(name).IS_BASELINE, code))
        contenders[-1].has_wild_rows = not find_task(task).HAS_PROBABILITIES
    n_rows = max_rows(spec)["train"]
    scale = plan.scale(n_rows, config.effort)
    deadline = started + (config.time_budget_s or plan.cap_seconds(n_rows, config.effort))
    common = (share_folder(paths.root, paths.ready, "ready", paths.name, ledger.data), ledger.data, task)
    with Race(common, ledger, deadline, progress) as race:
        race.measure(contenders)
        alive = [one for one in contenders if one.work]
        favourites = {name for name in names if is_tried_first(name, {field.kind for field in spec.inputs.values()})}
        direction = deciding_metric(paths.ready)[1]
        folds = default_folds(spec, paths.ready) if config.folds is None else config.folds
        folds = 0 if sampling_note(paths.ready) else folds  # they learn from all rows, or from none
        finals = plan.TABLE_WORK if is_table(spec) else plan.FOLDS_WORK if folds else plan.FINALS_WORK
        race.planned = scale * (plan.RACE_WORK + finals)
        ranked = _halve(race, alive, config, scale * plan.RACE_WORK, direction, favourites, folds)
        if not race.is_cut:
            contenders = _run_finals(race, contenders, ranked, config, folds, direction, paths)
        if is_table(spec) and not race.is_cut:
            work = plan.longer_work(n_rows, config.effort)
            contenders = longer_training.run(race, contenders, spec.to_json(), work, direction)
        return contenders, race.seconds_left if race.is_cut else None, race.note


def _halve(
    race: Any, alive: list[Any], config: SelectConfig, work: float, direction: str, favourites: set[str], folds: int
) -> list[Any]:
    """Halve successively, until `folds` can be paid; return all that were scored, the furthest and best first."""
    from evergreen.stages.trials.race import Job

    contenders, rungs = alive, len(config.rungs)
    for rung, chunks in enumerate(config.rungs, 1):
        goals = plan.rung_goals(alive, chunks, plan.rung_work(rung, rungs, work))
        jobs = []
        for contender, goal in goals.items():
            before, contender.goal = contender.goal, goal
            if goal > before:
                jobs.append(Job(contender, contender.seed, contender.goal, steps_before=before))
            else:
                contender.rung = rung  # it is at its whole length
        answers = race.run(jobs, f"rung {rung} of {rungs}")
        for job, answer in answers.items():
            job.contender.add_rung(answer, rung)
        for contender in alive:
            if not contender.scores and not contender.failed:
                contender.reason = "the time ran out before its turn"
        alive = [one for one in alive if one.rung == rung and one.score]
        alive.sort(key=lambda contender: contender.rank(direction), reverse=True)
        left = plan.finals_work(contenders, race.planned)
        if race.is_cut or (folds and plan.pays_folds(alive, folds, left, direction)):
            break
        if rung < rungs:
            alive = plan.promote(alive, config.reduction_factor, direction, favourites)
    scored = [contender for contender in contenders if contender.score]
    return sorted(scored, key=lambda contender: (contender.rung, contender.rank(direction)), reverse=True)


def _run_finals(
    race: Any, contenders: list[Any], ranked: list[Any], config: SelectConfig, folds: int, direction: str, paths: Paths
) -> list[Any]:
    """Train finalists in full, over folds or with several seeds; these scores replace those of the race.

    Return all contenders, each with the options that it did best by.
    """
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.engines.shared_storage import run_places
    from evergreen.stages.trials import fold_race

    work = plan.finals_work(contenders, race.planned)
    hopeful = plan.hopefuls(ranked, work, direction) if folds else []
    count = plan.n_finals(plan.finalists(hopeful, folds, work), folds, work)
    if count < (1 if config.folds else plan.MIN_FOLDS):
        finalists = plan.finalists(ranked, config.seeds, work)
        _run_seeds(race, finalists, plan.n_finals(finalists, config.seeds, work))
        return contenders
    spec = FeatureSpec.load(paths.ready).to_json()
    places = run_places(paths, race.common[1])
    places["folder"] += "/select"
    raced = fold_race.with_strengths(hopeful)
    for one in raced:
        one.plan = fold_race.plan_folds(one, race, spec, folds, places)
    fold_race.run(race, raced, count, work, direction)
    return fold_race.best_of_each([*raced, *(one for one in contenders if one not in raced)], direction)


def _run_seeds(race: Any, finalists: list[Any], count: int) -> None:
    """Train each finalist in full with so many seeds."""
    from evergreen.stages.trials.race import Job

    race.planned = race.done + count * sum(contender.work.full for contender in finalists)
    rounds = [[Job(one, one.seed + n, 0) for one in finalists] for n in range(count)]
    jobs = [job for jobs in rounds for job in sorted(jobs, key=lambda job: -job.work)]
    answers = race.run(jobs, f"finals, {count} seeds")
    for jobs in rounds:
        if any("score" not in answers.get(job, {}) for job in jobs):
            return  # means over different numbers of seeds do not compare
        for job in jobs:
            job.contender.add_final_score(answers[job])


def _check_compared(contenders: Sequence[Any], spent: float, left: float) -> None:
    """Raise PipelineError where a race was cut off before the baseline and two others were scored."""
    compared = [contender for contender in contenders if contender.scores]
    possible = [contender for contender in contenders if not contender.failed]
    if len(compared) < min(plan.MIN_COMPARED, len(possible)):
        problem = (
            f"{len(compared)} of {len(possible)} architectures were compared in {spent:.0f} s, and that is no choice"
        )
        fix = f"leave time_budget_s out; the whole takes about {spent + left:.0f} s here; what was done is kept"
        raise PipelineError(problem, place="select", fix=fix)
