"""Run the whole life of a model in order: skip what has not changed, release only what is better."""

from typing import Any

from prefect import flow
from prefect.states import Cancelled

from evergreen.core.paths import Paths, find_root
from evergreen.flows.retraining import BY_HAND, count_rows, reason_to_wait
from evergreen.flows.run_log import record_cancelled
from evergreen.flows.steps import (
    OverlapError,
    Run,
    collect,
    deploy,
    locked_run,
    preprocess,
    release,
    report,
    select,
    train,
    tune,
    validate,
)
from evergreen.flows.update import fetch_released
from evergreen.stages.engines import versions


@flow(flow_run_name="{name}: {trigger}")
def lifecycle(name: str, baseline_only: bool = False, trigger: str = BY_HAND) -> Any:
    """Bring one pipeline up to date; return what its steps report. A retired one is left alone.

    A run that was not started by hand is cancelled where another one is under way, and trains only what is worth it.
    """
    if name in versions.retired(find_root()):
        return {}
    try:
        with locked_run(name, baseline_only=baseline_only, trigger=trigger) as run:
            _bring_up_to_date(run, trigger)
        return run.summaries
    except OverlapError as error:
        if trigger == BY_HAND:
            raise
        record_cancelled(Paths(find_root(), name), trigger, error.problem)
        return Cancelled(message=error.problem)


def _bring_up_to_date(run: Run, trigger: str) -> None:
    if not run.baseline_only:
        fetch_released(run.paths)  # before the work: validate compares with it
    collect(run)  # the source's rows, with the origin of each
    run.record(rows=count_rows(run.paths))
    if reason := reason_to_wait(run.pipeline, run.paths, trigger):
        run.progress(stage="retrain", summary=reason, seconds=0.0)
    else:
        preprocess(run)  # checked, split, fitted on the training rows alone
        select(run)  # the architecture that wins within its time budget
        tune(run)  # its settings
        train(run)  # the candidate
        validate(run)  # evaluated on rows that nothing above has seen
        report(run)  # drawn from the evidence
    release(run)  # if validate says that it is better
    deploy(run)  # what is released answers
