"""Look at what the endpoint was asked and answered, tell people what moved, and say whether that is worth a run."""

import re
import urllib.request
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from evergreen.core.durations import parse_duration
from evergreen.core.errors import UserError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.flows.links import make_links
from evergreen.flows.notifications import Event, forget, read_config
from evergreen.flows.run_events import tell
from evergreen.flows.run_log import read_runs
from evergreen.stages.operation import RetrainConfig
from evergreen.stages.pipeline import Pipeline

BEGUN = "begun.json"  # the run that the monitor began last, and why
AGAIN = "1d"  # between two runs for one reason, where retrain.min_distance says nothing
TIMEOUT_S = 5.0  # of the endpoint's figures
MAX_TOLD = 3  # columns in a message
MAX_DEATHS = 3  # of runs for one reason, one after the other, until the next one waits
Json = dict[str, Any]


def look(pipeline: Pipeline, paths: Paths, progress: Progress = no_progress) -> Json:
    """Bring the findings about a pipeline's requests up to date, tell what is wrong once; return the findings.

    Raises:
        BusyError: another process does it.
    """
    from evergreen.stages.monitor import stage

    statuses = read_statuses(paths)
    findings = stage.run(pipeline.operation.monitor, paths, statuses=statuses, progress=progress)
    alarms = find_alarms(pipeline.operation.retrain, findings["latest"])
    if alarms:
        version = findings["latest"]["version"]
        key = f"{version}: {', '.join(alarms)}"
        config = read_config(paths.root, pipeline.operation)
        link = make_links(paths, ("retrain",), version, pipeline.operation.ask.hours, config.links if config else "")
        text = "\n".join(filter(None, [f"{'. '.join(alarms.values())}. {paths.monitor / stage.PAGE}", link]))
        tell(paths, lambda: [Event(paths.name, "drift", text, key)])
    else:
        forget(paths.root, paths.name, "drift")
    return findings


def read_statuses(paths: Paths) -> dict[str, float] | None:
    """Return status → how many requests of a pipeline the endpoint ended so since it began; None while it is down."""
    from evergreen.stages.deploy import api_keys
    from evergreen.stages.deploy import stage as deploy

    try:
        endpoint = deploy.status(paths.root)
        if endpoint is None:
            return None
        request = urllib.request.Request(f"{endpoint['url']}/metrics", headers=api_keys.owner_headers(paths.root))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return count_statuses(answer.read().decode(), paths.name)
    except (OSError, ValueError, UserError):  # the endpoint is not there, or is just starting
        return None


def count_statuses(metrics: str, name: str) -> dict[str, float]:
    """Return status → requests of a pipeline, of all its versions and replicas, from the text of /metrics."""
    counts: dict[str, float] = {}
    for labels, count in re.findall(r"^evergreen_requests_total\{(.*)\} (\S+)$", metrics, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if told.get("pipeline") == name:
            counts[told["status"]] = counts.get(told["status"], 0.0) + float(count)
    return counts


def find_alarms(retrain: RetrainConfig, latest: Json | None) -> dict[str, str]:
    """Return reason → what the newest window shows, in words: "drift", "loss"."""
    if latest is None:
        return {}
    alarms, moved = {}, latest["moved"]
    unsure = f"the estimated score is {latest['unsure']}" if latest["unsure"] else ""
    told = [*filter(None, [latest["rule"], unsure]), *latest["slices_moved"][:MAX_TOLD], *moved[:MAX_TOLD]]
    if told:
        alarms["drift"] = "; ".join(told) + (f"; and {len(moved) - MAX_TOLD} more" if len(moved) > MAX_TOLD else "")
    side = "true" if latest["loss"]["true"] is not None else "estimated"
    if retrain.loss and (latest["loss"][side] or 0.0) > retrain.loss:
        alarms["loss"] = f"the {side} loss is {latest['loss'][side]:.3g}, above the {retrain.loss:.3g} of retrain.loss"
    return alarms


def reason_to_run(retrain: RetrainConfig, paths: Paths, latest: Json | None) -> str:
    """Return why the monitor should begin a run now, "drift" or "loss"; "" where it should not, or did already.

    A run whose process died is begun again at the next look, a few times.
    """
    alarms = find_alarms(retrain, latest)
    reason = "loss" if "loss" in alarms else "drift" if "drift" in alarms and retrain.drift else ""
    file = paths.monitor / BEGUN
    if not reason or not file.is_file():
        return reason
    last = read_json(file, "version", "reason", "at")
    if (last["version"], last["reason"]) != (latest and latest["version"], reason):
        return reason
    own = (run for run in read_runs(paths) if run.trigger == reason)
    if 0 < sum(1 for _ in takewhile(lambda run: run.end == "died", islice(own, MAX_DEATHS))) < MAX_DEATHS:
        return reason
    distance = timedelta(microseconds=parse_duration(retrain.min_distance or AGAIN))
    return reason if datetime.now(UTC) - datetime.fromisoformat(last["at"]) >= distance else ""


def remember_run(paths: Paths, version: str, reason: str) -> None:
    """Remember that the monitor began a run, so that it begins no other one for the same reason soon."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(paths.monitor / BEGUN, {"format": 1, "version": version, "reason": reason, "at": at})
