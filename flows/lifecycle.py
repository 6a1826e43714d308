"""Run the whole life of a model in order: skip what has not changed, release only what is better."""

from typing import Any

from prefect import flow

from evergreen.core.paths import find_root
from evergreen.flows.steps import (
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


@flow(flow_run_name="{name}")
def lifecycle(name: str, baseline_only: bool = False, trigger: str = "by hand") -> dict[str, Any]:
    """Bring one pipeline up to date; return what its steps report. A retired one is left alone."""
    if name in versions.retired(find_root()):
        return {}
    with locked_run(name, baseline_only=baseline_only, trigger=trigger) as run:
        if not baseline_only:
            fetch_released(run.paths)  # before the work: validate compares with it
        collect(run)  # the source's rows, with the origin of each
        preprocess(run)  # checked, split, fitted on the training rows alone
        select(run)  # the architecture that wins within its time budget
        tune(run)  # its settings
        train(run)  # the candidate
        validate(run)  # evaluated on rows that nothing above has seen
        report(run)  # drawn from the evidence
        release(run)  # if validate says that it is better
        deploy(run)  # what is released answers
    return run.summaries
