"""`evergreen stop`: end what runs here."""

from __future__ import annotations

from evergreen.cli.output import CommandResult


def stop() -> CommandResult:
    """End what runs for this project: schedules, endpoint, engines."""
    from evergreen.core import processes
    from evergreen.core.paths import find_root
    from evergreen.flows import schedule
    from evergreen.flows.server import Server
    from evergreen.stages.engines import ray_cluster

    root = find_root()
    ended = {
        "watch": processes.terminate_tree(schedule.pid_file(root)),
        "endpoint and Ray": ray_cluster.stop(root),
        "Prefect": Server(root).stop(),
    }
    names = [name for name, was_alive in ended.items() if was_alive]
    return CommandResult({"ended": names}, f"ended: {', '.join(names)}" if names else "nothing was running")
