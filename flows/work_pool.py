"""Leave the runs that `evergreen watch` schedules to the workers of a Prefect work pool."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError


def assign(deployment: Any, pool: str, root: Path) -> None:
    """Let the workers of a pool, if it has a name, do a deployment's runs; to them the project lies at `root`, too.

    Raises PipelineError where the project's Prefect has no such pool.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.runner.storage import LocalStorage

    if not pool or deployment.work_pool_name:
        return
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            fix = f"make it: evergreen prefect work-pool create {pool} --type process"
            raise PipelineError(f"there is no work pool {pool!r}", place="--pool", fix=fix) from None
    file, _, flow = deployment.entrypoint.partition(":")
    deployment.entrypoint = f"evergreen.flows.{Path(file).stem}.{flow}"
    deployment.work_pool_name, deployment.storage = pool, LocalStorage(str(root))


def hand_over(deployments: Sequence[Any], pool: str, root: Path, show: Callable[[str], None]) -> None:
    """Register deployments for the workers of a pool; wait until SIGTERM, or Ctrl-C, which raises KeyboardInterrupt."""
    for deployment in deployments:
        assign(deployment, pool, root)
        deployment.apply()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    show(f"the workers of {pool} do the runs: evergreen prefect worker start --pool {pool}")
    over.wait()
