"""Run a pipeline as if it had been run at moments of the past, and score each version on the rows that came next.

The stages run as they are, below `.evergreen/backfill/NAME/MOMENT`: rows before the moment are learned from, those
until the next one are the test rows. What stays is the model and `result.json`, the record of what is done: killed at
any moment and called again, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
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
RESULT, REFERENCE, PAGE = "result.json", "reference", "report.html"
LEARNING = ("select", "tune", "train")  # stages whose seconds are what a version costs
STAGES = ("preprocess", *LEARNING, "validate")
Json = dict[str, Any]


def backfill(
    pipeline: Pipeline,
    paths: Paths,
    span: tuple[str, str, str],
    *,
    column: str = "",
    delay: str = "",
    progress: Progress = no_progress,
) -> list[Json]:
    """Return what came of a run at each moment of a `span`: the first, the last, and the step between them.

    `column` says when a row was, by default what splits the rows or what is collected by. What was true of rows that
    were younger than `delay` was not known yet. A moment after which no rows came is left out.

    Raises:
        PipelineError: no column says when rows were, or the span is none.
        BusyError: another process does it.
    """
    from evergreen.stages.collect.past_rows import read_moments

    column = column or pipeline.preprocess.time or pipeline.collect.watermark
    if not column:
        fix = f"name it: evergreen backfill {paths.name} --time COLUMN, or `preprocess: {{time: COLUMN}}`"
        raise PipelineError("no column says when a row was", place=f"pipelines/{paths.name}.yaml", fix=fix)
    times = read_moments(paths, column)
    moments = list_moments(*span, is_dated=times.dtype.kind == "M")
    results: list[Json] = []
    with exclusive_lock(paths.run_lock.with_name(f"{paths.name}.backfill"), f"{paths.name} is being backfilled"):
        for start, end in pairwise(moments):
            if ((times >= start) & (times < end)).any():
                past = place_at(pipeline, column, times, start, delay)
                results.append(_run(past, paths, times, (start, end), results, progress))
    return results


def home(paths: Paths, moment: str = "") -> Path:
    """Return the folder of a run of the past, or that of all of them."""
    return paths.home / "backfill" / paths.name / moment


def place_at(pipeline: Pipeline, column: str, times: NDArray[Any], start: Moment, delay: str) -> Pipeline:
    """Return a pipeline whose test rows are those from a moment on; of the rows before, the latest validate."""
    config = pipeline.preprocess
    before = np.sort(times[times < start])
    share = config.validation_fraction / (1 - config.test_fraction)
    first = before[int(len(before) * (1 - share))] if len(before) else start
    cuts = {"validate_from": first, "test_from": start}
    dated = times.dtype.kind == "M"
    update: Json = {name: format_moment(cut) if dated else float(cut) for name, cut in cuts.items()}
    update |= {"time": column, "group": "", "split_column": "", "gap": delay or config.gap}
    judged = pipeline.validate.model_copy(update={"slices": {}})  # of other test rows
    return replace(pipeline, preprocess=config.model_copy(update=update), validate=judged)


def _run(
    past: Pipeline,
    paths: Paths,
    times: NDArray[Any],
    span: tuple[Moment, Moment],
    earlier: Sequence[Json],
    progress: Progress,
) -> Json:
    """Return the result of one moment, made now where there is none of these rows, settings and versions."""
    from evergreen.stages.collect.past_rows import write_rows

    moment, until = map(format_moment, span)
    folder = home(paths, moment)
    own, file = Paths(paths.root, paths.name, folder), folder / RESULT
    write_rows(paths, own, times < span[1])
    key = _hash(past, own, [until, *(one["key"] for one in earlier)])
    if not file.is_file() or read_json(file, "key")["key"] != key:
        start = time.monotonic()
        result = {"format": FORMAT, "key": key, "moment": moment, "until": until}
        result |= _learn(past, paths, own, moment, earlier, progress)
        write_json(file, result, sort=False)
        progress(stage=moment, summary=describe_result(result), seconds=time.monotonic() - start)
    for left in (own.raw.parent, own.home):
        shutil.rmtree(left, ignore_errors=True)
    return read_json(file, "moment", "until", known_format=FORMAT)


def _hash(past: Pipeline, own: Paths, more: Sequence[str]) -> str:
    """Hash all that a result rests on."""
    settings = [past.task, past.task_options, *(getattr(past, stage) for stage in STAGES)]
    code = [importlib.import_module(f"evergreen.stages.{stage}.stage").VERSION for stage in STAGES]
    state = repr((settings, code, parts.project_texts(), folder_version(own.raw), more))
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()


def _learn(past: Pipeline, paths: Paths, own: Paths, moment: str, earlier: Sequence[Json], progress: Progress) -> Json:
    """Run the stages; return what they cost and how this version and earlier ones do on what came next."""
    seconds = {}

    def show(**facts: Any) -> None:
        if "summary" not in facts:
            progress(**facts | {"moment": moment})

    try:
        for stage in STAGES:
            start = time.monotonic()
            perform(stage, past, own, show, **({"baseline_only": True} if stage == "validate" else {}))
            seconds[stage] = time.monotonic() - start
    except DataError as error:  # too few rows by then, say: the next moment may have enough
        return {"problem": str(error)}
    metrics, card = read_metrics(own), read_json(own.candidate / "model.json", "architecture")
    metric, score = next(iter(metrics["test"].items()))
    result: Json = {"problem": "", "architecture": card["architecture"], "rows": metrics["rows"], "metric": metric}
    result["goal"] = read_json(own.evaluation / "evidence.json", "metrics")["metrics"][metric]
    result["seconds"] = round(sum(seconds[stage] for stage in LEARNING), 1)
    result |= {"low": score.get("low"), "high": score.get("high")}
    return result | _look_back(past, paths, own, (moment, metric, score["value"]), earlier)


def _look_back(
    past: Pipeline, paths: Paths, own: Paths, score: tuple[str, str, float], earlier: Sequence[Json]
) -> Json:
    """Return moment → score of each version by then on what came next, and what the monitor had found of it."""
    from evergreen.stages.monitor.past_window import find_moved, write_past_reference
    from evergreen.stages.validate.evidence import score_stored

    moment, metric, value = score
    write_past_reference(home(paths, moment) / REFERENCE, own.candidate, own.ready)
    scores, moved, floor = {moment: value}, {}, past.operation.monitor.matters
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
