"""Carry out what was decided about a waiting candidate: by a link, or since nobody decided in time."""

import os
import subprocess
import sys
import time
from pathlib import Path

from evergreen.core.durations import HOUR
from evergreen.core.errors import UserError
from evergreen.core.paths import Paths
from evergreen.flows.approval import waits_for_person
from evergreen.flows.notifications import Event
from evergreen.flows.run_events import tell
from evergreen.stages.engines import registration, versions
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import Pipeline, names, read

LIMIT_S = 600.0  # of a release, which starts engines
PROGRAM = [sys.executable, "-P", "-m", "evergreen.cli.main"]


def find_waiting(pipeline: Pipeline, paths: Paths) -> str:
    """Return the hash of the candidate that waits for a person's word; "" where none does."""
    if not paths.metrics.is_file() or not waits_for_person(pipeline, paths, read_metrics(paths)):
        return ""
    return registration.recorded_candidate(paths) or ""


def decide(paths: Paths, action: str, who: str, reason: str) -> tuple[bool, str]:
    """Approve or reject the candidate by the command of that name, as `who`; return whether it did, and its words."""
    name = " ".join(who.split()).translate(dict.fromkeys(map(ord, "<>"))) or "somebody"
    variables = os.environ | {"GIT_AUTHOR_NAME": name[:100], "GIT_AUTHOR_EMAIL": "evergreen@localhost"}
    command = [*PROGRAM, action, paths.name, f"--reason={' '.join(reason.split())[:1000]}"]
    try:
        done = subprocess.run(
            command, cwd=paths.root, env=variables, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"it took longer than {LIMIT_S:g} s: evergreen status {paths.name} tells how it stands"
    words = (done.stdout or done.stderr).strip().splitlines()
    return done.returncode == 0, words[-1] if words else f"exit status {done.returncode}"


def settle_timeouts(root: Path) -> list[str]:
    """Decide about candidates for which nobody did in the time of `ask`, as it says; return what went wrong."""
    problems, retired = [], versions.retired(root)
    for name in sorted({*names(root)} - {*retired}):
        paths = Paths(root, name)
        try:
            pipeline = read(name, root)
            if not (action := _find_timeout(pipeline, paths)):
                continue
            why = f"nobody decided in {pipeline.operation.ask.hours:g} hours"
            is_done, words = decide(paths, action, "the time-out of ask", why)
            if is_done:
                event = Event(name, "timed out", f"{why}: {words}", words)
                tell(paths, lambda event=event: [event])  # type: ignore[misc]
            else:
                problems.append(f"{name}: {action}: {words}")
        except (UserError, OSError) as error:
            problems.append(f"{name}: {error}")
    return problems


def _find_timeout(pipeline: Pipeline, paths: Paths) -> str:
    """Return what is to be done about a candidate by now: approve, reject or "".

    One that could not be compared is never released without a person.
    """
    ask = pipeline.operation.ask
    if ask.on_timeout == "wait" or not find_waiting(pipeline, paths):
        return ""
    is_over = time.time() - paths.metrics.stat().st_mtime > ask.hours * HOUR
    is_better = read_metrics(paths)["verdict"] == "release"
    return {"release": "approve" * is_better, "reject": "reject"}[ask.on_timeout] if is_over else ""
