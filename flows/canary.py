"""Decide about the version beside the one in production by what the log of requests says, while `evergreen watch` runs.

One run of the flow lasts as long as one canary or shadow; a run that was killed is begun again, and finds the same.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from httpx import HTTPError
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Completed

from evergreen.core.errors import BusyError, UserError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths, find_root
from evergreen.core.processes import exclusive_lock, lock_owner
from evergreen.core.progress import Progress, no_progress
from evergreen.flows import challenge
from evergreen.flows.notifications import Event
from evergreen.flows.run_events import tell
from evergreen.stages.engines import challengers, versions
from evergreen.stages.engines.challengers import Rollout
from evergreen.stages.monitor.rollout_evidence import Decision, Evidence
from evergreen.stages.operation import CanaryConfig, Operation
from evergreen.stages.pipeline import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK_SECONDS = 5.0  # between two looks at the log, and at the tags
BEGIN_SECONDS = 120.0  # until a run that was begun must hold the lock
WHO = "the flow canary"


@flow(flow_run_name="{name}: canary")
def canary(name: str) -> Any:
    """Watch the version beside the one in production until it is promoted or ends."""
    root = find_root()
    versions.prepare(root)
    pipeline, paths = read(name, root), Paths(root, name)
    try:
        with exclusive_lock(lock_file(paths), f"the canary of {name} is watched already"):
            return Completed(message=watch_rollout(paths, pipeline.operation))
    except BusyError as error:
        return Cancelled(message=error.problem)


def lock_file(paths: Paths) -> Path:
    """Return what the run that watches a pipeline's canary locks."""
    return paths.run_lock.with_name(f"{paths.name}.canary")


def watch_rollout(
    paths: Paths, operation: Operation, progress: Progress = no_progress, pause: Callable[[float], object] = time.sleep
) -> str:
    """Look at the log again and again until the version is promoted or ends; return what became of it."""
    evidence, rollout, asked, config = None, None, "", operation.canary or CanaryConfig()
    while (now := challengers.rollouts(paths.root).get(paths.name)) and now.version:
        if evidence is None or now != rollout:
            rollout, production = now, versions.released(paths.root)[paths.name]
            evidence = Evidence(paths.requests, production, now.version, now.since, config)
        evidence.read()
        decision = judge(evidence.decide(), now, operation)
        is_asked = decision.verdict == "ask"
        write_json(
            challenge.evidence_file(paths), {"format": 1, "version": now.version, "since": now.since, **vars(decision)}
        )
        if decision.verdict in ("promote", "abort"):
            end = challenge.promote if decision.verdict == "promote" else challenge.abort
            end(paths, decision.why, progress, WHO, now.since)
            return f"{now.version}: {decision.verdict} ({decision.why})"
        if is_asked and asked != now.since:
            asked, text = now.since, challenge.ask_for_word(paths.name, decision.why)
            tell(paths, lambda text=text, key=now.since: [Event(paths.name, "waiting", text, key)])  # type: ignore[misc]
        pause(LOOK_SECONDS)
    return "it was ended by other hands"


def judge(decision: Decision, rollout: Rollout, operation: Operation) -> Decision:
    """Return what is to be done: what the requests say, and where they say nothing in time, what the YAML says.

    A person is asked before a promotion where `release` says so, and of a shadow: nobody knows how fast it would
    answer.
    """
    config, is_canary = operation.canary or CanaryConfig(), rollout.role == "canary"
    verdict, why = decision.verdict, decision.why
    if not verdict:
        if datetime.now(UTC) < datetime.fromisoformat(rollout.since) + timedelta(hours=config.hours):
            return decision
        verdict, why = config.on_timeout if is_canary else "ask", f"{config.hours:g} hours are over; {why}"
    if verdict == "promote" and not (is_canary and operation.release != "ask"):
        verdict = "ask"
    return Decision(verdict, why, decision.streams)


def begin_runs(root: Path, names: Sequence[str], over: threading.Event) -> None:
    """Begin a run of the flow for each canary and shadow of these pipelines that none watches, until `over`."""
    begun: dict[str, float] = {}
    while names and not over.wait(LOOK_SECONDS):
        try:
            for name in _find_unwatched(root, names):
                if time.monotonic() - begun.get(name, -BEGIN_SECONDS) >= BEGIN_SECONDS:
                    with get_client(sync_client=True) as client:
                        deployment = client.read_deployment_by_name(f"canary/{name}")
                        client.create_flow_run_from_deployment(
                            deployment.id, parameters={"name": name}, tags=[tag(name)]
                        )
                    begun[name] = time.monotonic()
        except (UserError, OSError, HTTPError, PrefectException) as error:  # Prefect is just starting, git is busy
            print(f"evergreen: canaries: {error}", flush=True)


def _find_unwatched(root: Path, names: Sequence[str]) -> list[str]:
    rollouts = challengers.rollouts(root)
    found = [name for name in names if name in rollouts and rollouts[name].version]
    return [name for name in found if lock_owner(lock_file(Paths(root, name))) is None]


def tag(name: str) -> str:
    """Return the tag of runs that watch a pipeline's canary, which hold no lock of its other runs."""
    return f"{name} canary"
