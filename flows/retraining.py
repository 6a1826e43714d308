"""Tell whether what a run collected is worth a training."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from evergreen.core.durations import HOUR, parse_duration
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.flows.run_log import RunRecord, read_runs
from evergreen.stages.engines import versions
from evergreen.stages.operation import Operation
from evergreen.stages.pipeline import COSTLY, Pipeline

MONTH_DAYS = 30
BY_HAND = "by hand"  # the trigger of what a person starts: it trains whatever is new
BY_LINK = "by link"  # the trigger of what a link or a program asked for
HOWEVER_FEW = ("drift", "loss", BY_LINK)  # triggers of what trains however few rows are new


def reason_to_wait(pipeline: Pipeline, paths: Paths, trigger: str) -> str:
    """Say why nothing is trained now that the rows are collected; "" where it goes on."""
    if trigger == BY_HAND or not (paths.candidate / "model.json").is_file():
        return ""
    stale = versions.stale_reasons(paths.root, [pipeline])[pipeline.name]
    if not stale:
        return "there are no new rows, so nothing is trained"
    only_rows = stale == {"preprocess": f"input changed: {paths.raw.relative_to(paths.root).as_posix()}"}
    last = next(filter(has_trained, read_runs(paths)), None)
    if not only_rows or last is None:
        return ""
    config, n_before = pipeline.operation.retrain, _find(last, "rows")
    if config.min_distance:
        since = datetime.now(UTC) - datetime.fromisoformat(last.started)
        if since < timedelta(microseconds=parse_duration(config.min_distance)):
            began = f"the last training began at {last.started[:16]}"
            return f"{began} and retrain.min_distance is {config.min_distance}, so nothing is trained"
    if reason := _find_quiet(pipeline.operation) or _find_overspent(pipeline, paths):
        return f"{reason}, so nothing is trained"
    if trigger in HOWEVER_FEW:
        return ""
    n_wanted = max(config.min_new_rows, round(config.min_new_share * (n_before or 0)))
    n_new = count_rows(paths) - (n_before or 0)
    if n_before is not None and n_new < n_wanted:
        return f"{n_new:,} new rows of the {n_wanted:,} that retrain wants, so nothing is trained"
    return ""


def _find_quiet(operation: Operation) -> str:
    """Say that it is in the quiet hours, which may last over midnight; else ""."""
    if not operation.retrain.quiet_hours:
        return ""
    first, _, last = operation.retrain.quiet_hours.partition("-")
    now = f"{datetime.now(ZoneInfo(operation.time_zone)):%H:%M}"
    is_quiet = first <= now < last if first <= last else now >= first or now < last
    return f"it is {now}, and retrain.quiet_hours is {first}-{last}" if is_quiet else ""


def _find_overspent(pipeline: Pipeline, paths: Paths) -> str:
    """Say that the trainings of the last MONTH_DAYS took what they may; else ""."""
    if not (limit := pipeline.operation.retrain.max_core_hours):
        return ""
    since = (datetime.now(UTC) - timedelta(days=MONTH_DAYS)).isoformat()
    runs = takewhile(lambda run: run.started >= since, read_runs(paths))
    lines = (line for run in runs for line in run.lines if line.get("stage") in COSTLY)
    spent = sum(line.get("seconds", 0.0) for line in lines) * pipeline.train.worker_range[1] / HOUR
    if spent < limit:
        return ""
    return f"trainings of {MONTH_DAYS} days took {spent:.3g} core-hours and retrain.max_core_hours is {limit:g}"


def count_rows(paths: Paths) -> int:
    """Return how many rows are collected."""
    return int(read_json(paths.raw / "source.json", "rows")["rows"])


def has_trained(run: RunRecord) -> bool:
    """Tell whether a run trained a candidate to its end."""
    return any(line.get("stage") == "train" and line.get("summary") != "up to date" for line in run.lines)


def _find(run: RunRecord, key: str) -> Any:
    return next((line[key] for line in run.lines if key in line), None)
