"""Look at a pipeline's requests by schedule, and begin a run where they moved."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed

from evergreen.core.errors import BusyError, PipelineError
from evergreen.core.paths import Paths, find_root
from evergreen.flows.format import format_monitored
from evergreen.flows.monitoring import look, reason_to_run, remember_run
from evergreen.stages.engines import versions
from evergreen.stages.pipeline import read


@flow(flow_run_name="{name}: requests")
def monitor(name: str) -> Any:
    """Bring the findings about one pipeline's requests up to date; begin a run once where `retrain` says so."""
    root = find_root()
    versions.prepare(root)
    pipeline, paths = read(name, root), Paths(root, name)
    try:
        latest = look(pipeline, paths)["latest"]
    except BusyError as error:
        return Cancelled(message=error.problem)
    if latest is None:
        return Completed(message="no window is full")
    lines = [f"- {text}" for text in (*latest["slices_moved"], *latest["moved"])]
    lines += [latest["rule"], format_monitored(latest), latest["assumes"]]
    create_markdown_artifact(key=f"{name.replace('_', '-')}-requests", markdown="\n\n".join(filter(None, lines)))
    if reason := reason_to_run(pipeline.operation.retrain, paths, latest):
        begin_run(name, reason)
        remember_run(paths, latest["version"], reason)
    return Completed(message=f"{latest['n_moved']} moved" + (f"; a run begins: {reason}" if reason else ""))


def begin_run(name: str, trigger: str) -> None:
    """Begin a run of a pipeline, named after its reason. Raises PipelineError for one that is not being watched."""
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(f"lifecycle/{name}")
        except ObjectNotFound:
            fix = "give it a schedule, and start evergreen watch again"
            raise PipelineError(f"{name} is not being watched", fix=fix) from None
        parameters = {"name": name, "trigger": trigger}
        client.create_flow_run_from_deployment(deployment.id, parameters=parameters, tags=[name])
