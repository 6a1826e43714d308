"""Record a run and tell people of what it changed: the one place from which messages are sent about runs."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evergreen.core.durations import parse_duration
from evergreen.core.errors import UserError
from evergreen.core.paths import Paths
from evergreen.flows.approval import ask_for_word, waits_for_person
from evergreen.flows.links import make_links
from evergreen.flows.notifications import Event, flush, forget, notify, read_config, read_project_config
from evergreen.flows.run_log import BY_DECISION, Write, first_line, read_runs, record_run
from evergreen.stages.engines import registration, versions
from evergreen.stages.metrics import read_metrics
from evergreen.stages.operation import EventName, NotifyConfig
from evergreen.stages.pipeline import Pipeline, names, read


@contextmanager
def recorded_run(paths: Paths, trigger: str) -> Iterator[Write]:
    """Record the run in the block, and tell those whom it concerns how it ended and what it released."""
    name, before = paths.name, versions.released(paths.root).get(paths.name)
    last = next((run for run in read_runs(paths) if run.is_update), None)
    is_update = trigger not in BY_DECISION
    if last and last.end == "died" and is_update:
        tell(paths, lambda: [Event(name, "failed", f"the run of {last.started} ended without a word", last.started)])
    try:
        with record_run(paths, trigger) as write:
            yield write
    except Exception as error:
        why = first_line(error)
        if not is_update:  # whose mistake it is has read it
            raise
        tell(paths, lambda: [Event(name, "failed", why, re.sub(r"\d+", "0", why))])
        raise
    recovered = []
    if is_update and last and last.end != "ok":
        recovered = [Event(name, "recovered", "the last run succeeded", last.started)]
    tell(paths, lambda: [*recovered, *_find_waiting(paths), *_find_release(paths, before)], over=is_update)


def tell(paths: Paths, find_events: Callable[[], list[Event]], *, over: bool = False) -> None:
    """Send events to those whom the pipeline or the project names, after what failed is `over`; a problem is a line."""
    try:
        if over:
            forget(paths.root, paths.name, "failed", "overdue")
        problems = notify(paths.root, _read_config(paths), find_events())
    except (UserError, OSError) as error:
        problems = [f"no message was sent: {error}"]
    for problem in problems:
        versions.print_note(problem)


def tell_overdue(root: Path) -> list[str]:
    """Tell which pipelines have not succeeded for longer than they may, and what waits; return what went wrong."""
    problems = flush(root)
    retired = versions.retired(root)
    for name in set(names(root)) - set(retired):
        paths = Paths(root, name)
        try:
            pipeline = read(name, root)
            if text := find_overdue(pipeline, paths):
                problems += notify(root, read_config(root, pipeline.operation), [Event(name, "overdue", text)])
        except (UserError, OSError) as error:
            problems.append(f"{name}: {error}")
    return list(dict.fromkeys(problems))


def find_overdue(pipeline: Pipeline, paths: Paths) -> str:
    """Say since when a pipeline has not succeeded, where that is longer than its `alarm_after`; else ""."""
    if not pipeline.operation.alarm_after:
        return ""
    oldest = datetime.fromtimestamp(paths.pipeline.stat().st_mtime, UTC)  # that one exists since then, at the latest
    for run in filter(lambda run: run.is_update, read_runs(paths)):
        oldest = datetime.fromisoformat(run.started)
        if run.end == "ok":
            break
    limit = timedelta(microseconds=parse_duration(pipeline.operation.alarm_after))
    is_late = datetime.now(UTC) - oldest > limit
    return f"it has not succeeded since {oldest:%Y-%m-%d %H:%M} UTC" if is_late else ""


def _read_config(paths: Paths) -> NotifyConfig | None:
    try:
        return read_config(paths.root, read(paths.name, paths.root).operation)
    except UserError:  # a mistake in its YAML is what has to be told
        return read_project_config(paths.root)


def _find_waiting(paths: Paths) -> list[Event]:
    if not paths.metrics.is_file():
        return []
    metrics, pipeline = read_metrics(paths), read(paths.name, paths.root)
    case = waits_for_person(pipeline, paths, metrics)
    if not case:
        return []
    word = ask_for_word(paths.name, case)
    text = f"a candidate waits {word}. {metrics['why']} Its report: {paths.report / 'report.html'}"
    candidate, config = str(registration.recorded_candidate(paths)), _read_config(paths)
    links = make_links(
        paths, ("approve", "reject"), candidate, pipeline.operation.ask.hours, config.links if config else ""
    )
    return [Event(paths.name, "waiting", "\n".join(filter(None, [text, links])), candidate)]


def _find_release(paths: Paths, before: str | None) -> list[Event]:
    after = versions.released(paths.root).get(paths.name)
    if after in (None, before):
        return []
    order = [one.version for one in versions.versions(paths)]
    is_back = before in order and order.index(str(after)) < order.index(before)
    name: EventName = "rolled back" if is_back else "released"
    return [Event(paths.name, name, f"{after} is in service, before it {before or 'nothing'}", str(datetime.now(UTC)))]
