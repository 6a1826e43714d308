"""Run each pipeline by the schedule in its YAML, through Prefect, while this process is left running."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evergreen.core import processes
from evergreen.core.errors import PipelineError
from evergreen.core.paths import find_root
from evergreen.stages.pipeline import names, read


def pid_file(root: Path) -> Path:
    """Return the file that records the watching process."""
    return root / ".evergreen" / "watch.json"


def watch(show: Callable[[str], None]) -> dict[str, str]:
    """Run the schedules until interrupted, in one process a project; return them by pipeline."""
    from evergreen.flows.server import Server
    from evergreen.stages.engines import versions

    root = find_root()
    active = [name for name in names(root) if name not in versions.retired(root)]
    schedules = {
        name: pipeline.operation.schedule for name in active if (pipeline := read(name, root)).operation.schedule
    }
    if not schedules:
        fix = 'write one into a pipeline\'s YAML: schedule: "30 4 * * *" is every day at 04:30 UTC'
        raise PipelineError("no pipeline has a schedule", fix=fix)
    server = Server(root)
    with processes.exclusive_lock(
        root / ".evergreen" / "locks" / "watch", "another process watches this project already"
    ):
        server.start()
        url = server.wait()
        for name, schedule in schedules.items():
            show(f"{name}: {schedule} (UTC)")
        show(f"runs: {url}; to log in there, paste the line that this prints: cat {shlex.quote(str(server.key_file))}")
        show("Prefect's own commands: evergreen prefect …; stop: Ctrl-C, or evergreen stop")
        processes.save_pid(pid_file(root), os.getpid())
        try:
            os.chdir(root)  # Prefect finds the flow's file from here, also in the processes that it starts
            _serve(schedules)
        finally:
            pid_file(root).unlink(missing_ok=True)
    return schedules


def _serve(schedules: dict[str, str]) -> None:
    import warnings

    from prefect import serve

    warnings.filterwarnings("ignore", message="coroutine 'Runner.astop'")  # Prefect's own, when SIGTERM ends it
    serve(*(make_deployment(name, schedule) for name, schedule in schedules.items()), print_starting_message=False)


def make_deployment(name: str, schedule: str) -> Any:
    """Schedule the lifecycle of one pipeline; a run that would overlap the one before is left out."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron

    from evergreen.flows.lifecycle import lifecycle

    return lifecycle.to_deployment(
        name=name,
        parameters={"name": name, "trigger": "schedule"},
        schedule=Cron(schedule, timezone="UTC"),
        tags=[name],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
