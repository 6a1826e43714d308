"""`evergreen stop`: end what runs here."""

from collections.abc import Callable
from functools import partial

from evergreen.cli.output import CommandResult


def stop() -> CommandResult:
    """End what runs here: schedules, runs, endpoint, engines."""
    from evergreen.core import processes
    from evergreen.core.errors import UserError
    from evergreen.core.paths import find_running_root
    from evergreen.flows import schedule
    from evergreen.flows.server import Server
    from evergreen.stages.deploy import stage as deploy
    from evergreen.stages.engines import ray_cluster

    root, names, notes = find_running_root(), [], []
    ends: dict[str, Callable[[], bool]] = {
        "watch": partial(processes.terminate_tree, schedule.pid_file(root)),
        **{  # a run would start its engines again
            f"the run of {lock.name}": partial(processes.terminate_owner, lock)
            for lock in sorted((root / ".evergreen" / "locks").glob("*"))
        },
        "endpoint of the cluster": partial(deploy.undeploy_cluster, root),
        "endpoint and Ray": partial(ray_cluster.stop, root),
        "Prefect": Server(root).stop,
    }
    for name, end in ends.items():
        try:
            names += [name] * end()
        except (UserError, OSError) as error:  # it keeps nothing else from being ended
            notes.append(f"{name}: {' '.join(str(error).split())}")
    text = f"ended: {', '.join(names)}" if names else "nothing was running"
    return CommandResult({"ended": names, "notes": notes}, "\n".join([text, *notes]))
