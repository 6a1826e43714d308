"""Describe what changed since rows were prepared last, outside `ready`, which depends on data and settings alone."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.files import atomic_directory, read_json, write_json, write_text
from evergreen.core.paths import Paths
from evergreen.data.prepare import invalid_rows
from evergreen.data.prepare.assignment import FILE, Assignment
from evergreen.data.prepared import QUARANTINED, SCHEMA, row_groups
from evergreen.data.quality import profile
from evergreen.data.spec import FeatureSpec
from evergreen.pages import data_page
from evergreen.stages.preprocess import pictures
from evergreen.stages.preprocess.row_changes import compare_rows
from evergreen.stages.preprocess.samples import Samples

PAGE, FACTS, HISTORY = "report.html", "facts.json", "history.json"
EXAMPLES = 3  # of rows quarantined for one reason


def write_description(
    paths: Paths,
    now: Path,
    rows: Samples,
    spec: FeatureSpec,
    summary: Mapping[str, Any],
    splits: Assignment | None = None,
) -> dict[str, Any]:
    """Write the folder `described`: a page about the rows in `now`, which replace those in `ready`, and their history.

    `splits` say where rows went; without them those that were stored stay.

    Returns the history: {"changes": words, "moves": see `compare_rows`}. Changes stay in it as long as nothing else
    changes, so that the same data give the same history.
    """
    stored = load_history(paths)
    before, after = _facts(paths.ready), _facts(now)
    same = before == after
    kind_of = {**summary["inputs"], rows.target: rows.kind}
    history = {
        "changes": stored["changes"] if same else profile.describe_changes(before, after) if before else [],
        "moves": compare_rows(paths.ready, now, stored["moves"], kind_of),
    }
    facts = _page_facts(now, rows, spec, summary)
    with atomic_directory(paths.described) as folder:
        write_json(folder / FACTS, facts, sort=False)
        write_json(folder / HISTORY, history)
        if splits:
            splits.write(folder / FILE)
        elif (paths.described / FILE).is_file():
            shutil.copyfile(paths.described / FILE, folder / FILE)
        write_text(folder / PAGE, data_page.page(paths.name, {**summary, **history}, facts))
    return history


def _page_facts(ready: Path, rows: Samples, spec: FeatureSpec, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page about the data shows beside the summary."""
    marks = {
        "columns": pictures.columns(rows, summary["missing"], sum(summary["rows"].values())),
        "over_time": pictures.over_time(rows),
        "examples": pictures.examples(rows, spec),
    }
    return {
        "format": 1,
        "task": spec.task,
        "target": rows.target,
        "n_inputs": len(rows.inputs),
        **{name: [mark.to_json() for mark in listed] for name, listed in marks.items()},
        "quarantine": invalid_rows.examples_by_reason([row_groups(ready, QUARANTINED)[0].read()], EXAMPLES),
    }


def load_history(paths: Paths) -> dict[str, Any]:
    """Return the history that was stored last."""
    path = paths.described / HISTORY
    return read_json(path) if path.is_file() else {"changes": [], "moves": {}}


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / SCHEMA
    return read_json(path) if path.is_file() else {}
