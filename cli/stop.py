"""`evergreen stop`: end what runs here."""

from evergreen.cli.output import CommandResult


def stop() -> CommandResult:
    """End what runs here: schedules, runs, endpoint, engines."""
    from evergreen.core import processes
    from evergreen.core.paths import find_root
    from evergreen.flows import schedule
    from evergreen.flows.server import Server
    from evergreen.stages.engines import ray_cluster

    root = find_root()
    locks = (root / ".evergreen" / "locks").glob("*")  # a run would start its engines again
    ended = {
        "watch": processes.terminate_tree(schedule.pid_file(root)),
        **{f"the run of {lock.name}": processes.terminate_owner(lock) for lock in sorted(locks)},
        "endpoint and Ray": ray_cluster.stop(root),
        "Prefect": Server(root).stop(),
    }
    names = [name for name, was_alive in ended.items() if was_alive]
    return CommandResult({"ended": names}, f"ended: {', '.join(names)}" if names else "nothing was running")
