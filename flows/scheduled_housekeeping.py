"""Clean a project by schedule, as a run of Prefect's."""

from typing import Any

from prefect import flow
from prefect.states import Cancelled, Completed

from evergreen.core.errors import BusyError
from evergreen.core.paths import find_root
from evergreen.flows.housekeeping import clean
from evergreen.stages.housekeeping_config import read_housekeeping


@flow(flow_run_name="housekeeping")
def housekeeping() -> Any:
    """Remove what is old, too much, and needed by nobody, as `housekeeping.yaml` says."""
    root = find_root()
    try:
        freed = clean(root, read_housekeeping(root))
    except BusyError as error:
        return Cancelled(message=error.problem)
    told = [f"{n_bytes / 1e6:,.1f} MB of {what}" for what, n_bytes in freed.items()]
    return Completed(message=f"freed {', '.join(told)}" if told else "nothing was old or too much")
