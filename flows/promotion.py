"""Change what is in production by hand; the lifecycle does the same by the verdict of validate."""

from typing import Any

from prefect import flow

from evergreen.flows.serving import deploy_released
from evergreen.flows.steps import locked_run, release_candidate
from evergreen.stages.engines import decisions, versions


@flow(flow_run_name="{name}: approve")
def approve(name: str, reason: str = "") -> dict[str, Any]:
    """Release and serve the candidate, whatever its verdict; the tag says who approved it and why."""
    with locked_run(name, trigger="approve") as run:
        version = release_candidate(run, decisions.sign(run.paths.root, "Approved", reason), again=True)
        return {"version": version, **deploy_released(run.paths.root, run.progress, name)}


@flow(flow_run_name="{name}: rollback")
def rollback(name: str, version: str | None = None) -> dict[str, Any]:
    """Return to an earlier version, by default the one before the released one, and serve it."""
    with locked_run(name, trigger="rollback") as run:
        version = versions.rollback(run.paths, version)
        return {"version": version, **deploy_released(run.paths.root, run.progress, name)}
