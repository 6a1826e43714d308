"""Run a pipeline as if it had been run at moments of the past, and score each version on the rows that came next.

The stages run as they are, below `.evergreen/backfill/NAME/MOMENT`: rows before the moment are learned from, those
until the next one are the test rows. What stays is the model, `learned.json` and `result.json`, the records of what is
done: killed at any moment and called again, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.core import parts
from evergreen.core.errors import DataError, PipelineError
from evergreen.core.files import read_json, write_json, write_text
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.core.progress import Progress, no_progress
from evergreen.flows.moments import Moment, format_moment, list_moments
from evergreen.stages.artifacts import folder_version
from evergreen.stages.metrics import read_metrics
from evergreen.stages.pipeline import Pipeline, perform

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
RESULT, LEARNED, REFERENCE, PAGE = "result.json", "learned.json", "reference", "report.html"
LEARNING = ("select", "tune", "train")  # stages whose seconds are what a version costs
STAGES = ("preprocess", *LEARNING, "validate")
Json = dict[str, Any]


@dataclass(frozen=True)
class PastRun:
    """Say what a run at a moment of the past would have been, and where it is done."""

    pipeline: Pipeline  # whose test rows are those behind the moment
    paths: Paths  # of the project
    moment: str
    until: str
    row_mask: NDArray[np.bool_]  # of the collected rows: those known by then, and those until the next moment

    @property
    def own(self) -> Paths:
        """The places of this run."""
        return Paths(self.paths.root, self.paths.name, home(self.paths, self.moment))


def make_pool(n_parallel: int) -> Executor:
    """Return processes that learn side by side; what their stages do on the cluster waits there for its place."""
    return ProcessPoolExecutor(n_parallel, mp_context=multiprocessing.get_context("spawn"))


def backfill(
    pipeline: Pipeline,
    paths: Paths,
    span: tuple[str, str, str],
    *,
    column: str = "",
    delay: str = "",
    known: str = "",
    n_parallel: int = 1,
    progress: Progress = no_progress,
    make_pool: Callable[[int], Executor] = make_pool,
) -> list[Json]:
    """Return what came of a run at each moment of a `span`: the first, the last, and the step between them.

    `column` says when a row was, by default what splits the rows or what is collected by. What was true of rows that
    were younger than `delay`, or is later in the column `known`, was not known yet. A moment after which no rows came
    is left out. `n_parallel` moments are learned from side by side, in processes of `make_pool`.

    Raises:
        PipelineError: no column says when rows were, the span is none, or a process of the pool died.
        BusyError: another process does it.
    """
    from evergreen.stages.collect.past_rows import read_moments

    column = column or pipeline.preprocess.time or pipeline.collect.watermark
    if not column:
        fix = f"name it: evergreen backfill {paths.name} --time COLUMN, or `preprocess: {{time: COLUMN}}`"
        raise PipelineError("no column says when a row was", place=f"pipelines/{paths.name}.yaml", fix=fix)
    times = read_moments(paths, column)
    known_times = read_moments(paths, known, "--known") if known else times
    if known_times.dtype.kind != times.dtype.kind:
        raise PipelineError(f"{known} and {column} are not both dates or both numbers", place="--known")
    runs = []
    for start, end in pairwise(list_moments(*span, is_dated=times.dtype.kind == "M")):
        is_next = (times >= start) & (times < end)
        is_known = (times < start) & (known_times < start)
        if is_next.any():
            past = place_at(pipeline, column, times[is_known], start, delay, known)
            runs.append(PastRun(past, paths, format_moment(start), format_moment(end), is_known | is_next))
    results: list[Json] = []
    with exclusive_lock(paths.run_lock.with_name(f"{paths.name}.backfill"), f"{paths.name} is being backfilled"):
        if n_parallel > 1:
            with make_pool(n_parallel) as pool:
                _learn_ahead(pool, runs, progress)
        for run in runs:
            results.append(_finish(run, results, progress))
    return results


def _learn_ahead(pool: Executor, runs: Sequence[PastRun], progress: Progress) -> None:
    """Learn at all moments that have no result yet, as many at once as the pool does."""
    left = {pool.submit(learn, run): run for run in runs if not (run.own.base / RESULT).is_file()}  # type: ignore[operator]
    try:
        for n_done, future in enumerate(as_completed(left), 1):
            future.result()
            progress(stage="backfill", moment=left[future].moment, learned=f"{n_done} of {len(left)}")
    except BrokenProcessPool as error:
        fix = "call it again, with a smaller --parallel where memory was short: what is done is kept"
        raise PipelineError("a process of the backfill died", fix=fix) from error


def home(paths: Paths, moment: str = "") -> Path:
    """Return the folder of a run of the past, or that of all of them."""
    return paths.home / "backfill" / paths.name / moment


def place_at(
    pipeline: Pipeline, column: str, times: NDArray[Any], start: Moment, delay: str, known: str = ""
) -> Pipeline:
    """Return a pipeline whose test rows are those from a moment on; of the rows before, the latest validate."""
    config = pipeline.preprocess
    before = np.sort(times[times < start])  # those from which can be learned
    share = config.validation_fraction / (1 - config.test_fraction)
    first = before[int(len(before) * (1 - share))] if len(before) else start
    write = format_moment if times.dtype.kind == "M" else float
    update: Json = {"validate_from": write(first), "test_from": write(start)}
    update |= {"time": column, "group": "", "split_column": "", "gap": delay or config.gap}
    update["drop_columns"] = sorted({*config.drop_columns, *filter(None, [known])})  # of a row that is asked it is none
    judged = pipeline.validate.model_copy(update={"slices": {}})  # of other test rows
    return replace(pipeline, preprocess=config.model_copy(update=update), validate=judged)


def learn(run: PastRun, key: str = "", progress: Progress = no_progress) -> Json:
    """Return what a version of a moment costs and reaches, by its record where that is of the same `key`."""
    file, key = home(run.paths, run.moment) / LEARNED, key or _prepare(run)
    if not (run.own.ready.is_dir() and file.is_file() and read_json(file, "key")["key"] == key):
        write_json(file, {"format": FORMAT, "key": key, "facts": _run_stages(run, progress)}, sort=False)
    return dict(read_json(file, "facts")["facts"])


def _finish(run: PastRun, earlier: Sequence[Json], progress: Progress) -> Json:
    """Return the result of one moment, made now where there is none of these rows, settings, code and earlier ones."""
    own, file = run.own, home(run.paths, run.moment) / RESULT
    own_key = _prepare(run)
    key = hashlib.blake2b(repr([own_key, *(one["key"] for one in earlier)]).encode(), digest_size=16).hexdigest()
    if not file.is_file() or read_json(file, "key")["key"] != key:
        start, facts = time.monotonic(), {"moment": run.moment, "until": run.until}
        result: Json = {"format": FORMAT, "key": key, **facts, **learn(run, own_key, progress)}
        if not result["problem"]:
            result |= _look_back(run, result["metric"], result.pop("score"), earlier)
        write_json(file, result, sort=False)
        progress(stage=run.moment, summary=describe_result(result), seconds=time.monotonic() - start)
    for left in (own.raw.parent, own.home):
        shutil.rmtree(left, ignore_errors=True)
    return read_json(file, "moment", "until", known_format=FORMAT)


def _prepare(run: PastRun) -> str:
    """Put the rows of a run in their place; return a hash of all that its version rests on."""
    from evergreen.stages.collect.past_rows import write_rows

    past, own = run.pipeline, run.own
    write_rows(run.paths, own, run.row_mask)
    settings = [past.task, past.task_options, *(getattr(past, stage) for stage in STAGES)]
    code = [importlib.import_module(f"evergreen.stages.{stage}.stage").VERSION for stage in STAGES]
    state = repr((settings, code, parts.project_texts(), folder_version(own.raw), run.until))
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def _run_stages(run: PastRun, progress: Progress) -> Json:
    """Run the stages; return what they cost, and how the version does on what came next."""
    seconds, own = {}, run.own

    def show(**facts: Any) -> None:
        if "summary" not in facts:
            progress(**facts | {"moment": run.moment})

    try:
        for stage in STAGES:
            start = time.monotonic()
            perform(stage, run.pipeline, own, show, **({"baseline_only": True} if stage == "validate" else {}))
            seconds[stage] = time.monotonic() - start
    except DataError as error:  # too few rows by then, say: the next moment may have enough
        return {"problem": str(error)}
    metrics, card = read_metrics(own), read_json(own.candidate / "model.json", "architecture")
    metric, score = next(iter(metrics["test"].items()))
    result: Json = {"problem": "", "architecture": card["architecture"], "rows": metrics["rows"], "metric": metric}
    result["goal"] = read_json(own.evaluation / "evidence.json", "metrics")["metrics"][metric]
    result["core_seconds"] = round(count_core_seconds(seconds, own, run.pipeline.train.worker_range[1]), 1)
    return result | {"low": score.get("low"), "high": score.get("high"), "score": score["value"]}


def count_core_seconds(seconds: Mapping[str, float], own: Paths, n_workers: int) -> float:
    """Return for how long cores were held: of each trial one, of a training one a worker, else this process's own."""
    ledgers = [path.read_text().splitlines() for path in (own.races, own.trials) if path.is_file()]
    of_trials = sum(json.loads(line).get("seconds") or 0.0 for lines in ledgers for line in lines)
    return max(of_trials, seconds["select"] + seconds["tune"]) + seconds["train"] * n_workers


def _look_back(run: PastRun, metric: str, value: float, earlier: Sequence[Json]) -> Json:
    """Return moment → score of each version by then on what came next, and what the monitor had found of it."""
    from evergreen.stages.monitor.past_window import find_moved, write_past_reference
    from evergreen.stages.validate.evidence import score_stored

    paths, own, moment = run.paths, run.own, run.moment
    write_past_reference(home(paths, moment) / REFERENCE, own.candidate, own.ready)
    scores, moved, floor = {moment: value}, {}, run.pipeline.operation.monitor.matters
    for one in [*(one["moment"] for one in earlier if not one["problem"]), moment]:
        then = Paths(paths.root, paths.name, home(paths, one))
        if one != moment and metric in (found := score_stored(then.candidate, own.candidate, own.ready)):
            scores[one] = found[metric]
        moved[one] = find_moved(home(paths, one) / REFERENCE, then.candidate, own.ready, floor)
    return {"scores": scores, "moved": moved}


def describe_result(result: Json) -> str:
    """Say in a line how the version of a moment did on what came next."""
    if result["problem"]:
        return str(result["problem"])
    value = result["scores"][result["moment"]]
    n_moved = len(result["moved"][result["moment"]])
    moved = f", {n_moved} moved" if n_moved else ""
    rows = f"{result['rows']:,} row{'s' * (result['rows'] != 1)} until {result['until']}"
    return f"{result['architecture']}, {result['metric']} {value:.3g} on {rows}{moved}"


def draw(paths: Paths, results: Sequence[Json], policies: Sequence[Json]) -> str:
    """Write the page about the runs; return its path."""
    from evergreen.pages import backfill_page

    page = home(paths) / PAGE
    write_text(page, backfill_page.page(paths.name, results, policies))
    return str(page)
