"""Run each pipeline by the schedule in its YAML, through Prefect, while this process is left running."""

import os
import shlex
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from evergreen.core import processes
from evergreen.core.background import in_background
from evergreen.core.errors import BusyError, PipelineError, UserError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths, find_root
from evergreen.flows.deciding import settle_timeouts
from evergreen.flows.link_app import HOST, open_listener, serve_links
from evergreen.flows.notifications import Event
from evergreen.flows.run_events import tell, tell_overdue
from evergreen.flows.run_log import read_runs
from evergreen.stages.housekeeping_config import read_housekeeping
from evergreen.stages.operation import Operation
from evergreen.stages.pipeline import names, read

TICK_SECONDS = 60.0
MAX_MISSED = 100  # runs of a pipeline that are made up for
WITHOUT_LOCK = ("canary", "housekeeping", "monitor")  # flows that hold no lock of a pipeline's runs
Show = Callable[[str], None]


def pid_file(root: Path) -> Path:
    """Return the file that records the watching process."""
    return root / ".evergreen" / "watch.json"


def watch(show: Show, host: str = HOST, pool: str = "") -> dict[str, str]:
    """Run the schedules until interrupted, in one process a project; return them by pipeline.

    It answers links by which people decide, at `host`. With a `pool`, workers of that work pool do the runs.
    """
    from evergreen.flows.server import Server

    root = find_root()
    operations = read_operations(root, show)
    if not operations:
        fix = 'write one into a pipeline\'s YAML: schedule: "30 4 * * *" is every day at 04:30'
        raise PipelineError("no pipeline has a schedule", fix=fix)
    server = Server(root)
    with processes.exclusive_lock(
        root / ".evergreen" / "locks" / "watch", "another process watches this project already"
    ):
        server.start()
        url = server.wait()
        for name, operation in operations.items():
            looks = f"requests {operation.monitor.schedule}" if operation.monitor.schedule else ""
            rest = ["canaries" * bool(operation.canary), "time-outs" * (operation.ask.on_timeout != "wait")]
            show(f"{name}: {', '.join(filter(None, [operation.schedule, looks, *rest]))} ({operation.time_zone})")
        show(f"runs: {url}; to log in there, paste the line that this prints: cat {shlex.quote(str(server.key_file))}")
        show("Prefect's own commands: evergreen prefect …; stop: Ctrl-C, or evergreen stop")
        processes.save_pid(pid_file(root), os.getpid())
        try:
            os.chdir(root)  # Prefect finds the flow's file from here, also in the processes that it starts
            with open_listener(root, host) as listener, server.kept_up():
                _serve(root, operations, show, partial(serve_links, root, listener), pool)
        finally:
            pid_file(root).unlink(missing_ok=True)
    return {name: operation.schedule or operation.monitor.schedule for name, operation in operations.items()}


def read_operations(root: Path, show: Show) -> dict[str, Operation]:
    """Return the pipelines that have a schedule. One whose YAML is broken is told and left out."""
    from evergreen.stages.engines import versions

    operations = {}
    for name in sorted({*names(root)} - {*versions.retired(root)}):
        try:
            operation = read(name, root).operation
        except UserError as error:
            show(f"{name}: not watched: {error}")
            tell(Paths(root, name), lambda name=name, why=str(error): [Event(name, "failed", why, why)])  # type: ignore[misc]
            continue
        if operation.schedule or operation.monitor.schedule or operation.canary or operation.ask.on_timeout != "wait":
            operations[name] = operation
    return operations


def _serve(root: Path, operations: Mapping[str, Operation], show: Show, answer: Callable[..., None], pool: str) -> None:
    import warnings

    from prefect import serve

    from evergreen.flows import server, work_pool
    from evergreen.flows.canary import begin_runs
    from evergreen.flows.scheduled_monitor import begin_run

    warnings.filterwarnings("ignore", message="coroutine 'Runner.astop'")  # Prefect's own, when SIGTERM ends it
    if not pool:  # whose workers may do them meanwhile
        server.mark_abandoned_crashed(flows=WITHOUT_LOCK)
    seen, deployments = read_last_seen(root), make_housekeeping_deployments(root, show)
    for name, operation in operations.items():
        runs = make_deployment(name, operation)
        deployments += [runs, *make_monitor_deployments(name, operation), *make_canary_deployments(name, operation)]
        work_pool.assign(runs, pool, root)
        end_leftovers(Paths(root, name))
        if n_due := catch_up(Paths(root, name), operation, runs, seen):
            show(f"{name}: {n_due} made up for, which was due while nothing watched")
    watched = [name for name, operation in operations.items() if operation.canary]
    with (
        in_background(lambda over: _tick(root, over)),
        in_background(partial(begin_runs, root, watched)),
        in_background(partial(answer, begin_run)),
    ):
        if pool:
            work_pool.hand_over(deployments, pool, root, show)
        else:
            serve(*deployments, print_starting_message=False)


def make_deployment(name: str, operation: Operation) -> Any:
    """Schedule the lifecycle of one pipeline.

    A run that would overlap the one before cancels itself, by the pipeline's lock, which dies with its holder. Where
    all runs are wanted, it waits for its turn.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron

    from evergreen.flows.lifecycle import lifecycle

    in_turn = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    return lifecycle.to_deployment(
        name=name,
        parameters={"name": name, "trigger": "schedule"},
        schedule=Cron(operation.schedule, timezone=operation.time_zone) if operation.schedule else None,
        tags=[name],
        concurrency_limit=in_turn if operation.catch_up == "all" else None,
    )


def make_monitor_deployments(name: str, operation: Operation) -> list[Any]:
    """Schedule the looks at the requests of one pipeline, where its YAML does; the next look makes up for all."""
    from prefect.schedules import Cron

    from evergreen.flows.scheduled_monitor import monitor

    if not operation.monitor.schedule:
        return []
    cron = Cron(operation.monitor.schedule, timezone=operation.time_zone)
    return [monitor.to_deployment(name=name, parameters={"name": name}, schedule=cron, tags=[monitor_tag(name)])]


def make_canary_deployments(name: str, operation: Operation) -> list[Any]:
    """Make what decides about the canaries of one pipeline, where its YAML says how; it is begun when there is one."""
    from evergreen.flows.canary import canary, tag

    return [canary.to_deployment(name=name, parameters={"name": name}, tags=[tag(name)])] if operation.canary else []


def make_housekeeping_deployments(root: Path, show: Show) -> list[Any]:
    """Schedule what removes old things of the project; a mistake in its settings is told, and nothing is removed."""
    from prefect.schedules import Cron

    from evergreen.flows.scheduled_housekeeping import housekeeping

    try:
        schedule = read_housekeeping(root).schedule
    except UserError as error:
        show(f"nothing is cleaned: {error}")
        return []
    return [housekeeping.to_deployment(name="project", schedule=Cron(schedule, timezone="UTC"))] if schedule else []


def monitor_tag(name: str) -> str:
    """Return the tag of looks at a pipeline's requests, which hold no lock of its runs."""
    return f"{name} requests"


def end_leftovers(paths: Paths) -> None:
    """Mark what died while nothing watched as crashed, and cancel what was due then."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelled

    from evergreen.flows.server import mark_abandoned_crashed

    try:
        with processes.exclusive_lock(paths.run_lock, f"{paths.name} is already running"):
            mark_abandoned_crashed(paths.name)
    except BusyError:
        pass  # it runs
    now = datetime.now(UTC).isoformat()
    fields = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": {"before_": now}}
    late = [{"tags": {"all_": [tag]}, **fields} for tag in (paths.name, monitor_tag(paths.name))]
    with get_client(sync_client=True) as client:
        runs = (client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(one), limit=200) for one in late)
        for run in chain.from_iterable(runs):  # Prefect plans 100 ahead
            client.set_flow_run_state(run.id, Cancelled(message="it was due while nothing watched"), force=True)


def catch_up(paths: Paths, operation: Operation, deployment: Any, seen: datetime | None) -> int:
    """Start the runs that the policy makes up for; return how many."""
    from prefect.client.orchestration import get_client

    n_missed = count_missed(paths, operation, seen)
    n_due = {"none": 0, "last": min(n_missed, 1), "all": n_missed}[operation.catch_up]
    if n_due:
        identity, parameters = deployment.apply(), {"name": paths.name, "trigger": "catch-up"}
        with get_client(sync_client=True) as client:
            for _ in range(n_due):
                client.create_flow_run_from_deployment(identity, parameters=parameters, tags=[paths.name])
    return n_due


def count_missed(paths: Paths, operation: Operation, seen: datetime | None) -> int:
    """Count the runs that were due since something watched last, or since the newest run began; at most MAX_MISSED."""
    if seen is None or not operation.schedule:
        return 0
    newest = next(read_runs(paths), None)
    since = max(seen, datetime.fromisoformat(newest.started)) if newest else seen
    now = datetime.now(UTC)
    return len(list(islice(takewhile(lambda due: due < now, operation.due_after(since)), MAX_MISSED)))


def read_last_seen(root: Path) -> datetime | None:
    """Return when something watched last; None where nothing did, or nobody knows."""
    try:
        return datetime.fromisoformat(read_json(_seen_file(root), "at")["at"])
    except (UserError, ValueError, TypeError):
        return None


def _tick(root: Path, over: threading.Event) -> None:
    """Say each minute that something watches, and tell what is overdue; a problem is said once."""
    said: list[str] = []
    while True:
        write_json(_seen_file(root), {"format": 1, "at": datetime.now(UTC).isoformat(timespec="seconds")})
        problems = [*tell_overdue(root), *settle_timeouts(root)]
        for problem in problems:
            if problem not in said:
                print(f"evergreen: {problem}", flush=True)
        said = problems
        if over.wait(TICK_SECONDS):
            return


def _seen_file(root: Path) -> Path:
    return root / ".evergreen" / "watch_seen.json"
