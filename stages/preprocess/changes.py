"""What changed since rows were prepared last, told beside them: `ready` follows from data and settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.files import read_json, replace_folder, write_json
from evergreen.data.prepared import SCHEMA
from evergreen.data.quality import profile
from evergreen.stages.describing.page import page
from evergreen.stages.preprocess.row_changes import moves

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.preprocess.samples import Samples

PAGE, HISTORY = "report.html", "history.json"


def describe(paths: Paths, now: Path, rows: Samples, spec: FeatureSpec, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the folder `described`, a page and the history, of the rows in `now`, which are to replace those in
    `ready`. Returns the history: {"changes": words, "moves": see `moves`}.

    What changed stays told as long as nothing else changes, so that the same data give the same again.
    """
    told = known(paths)
    before, facts = _facts(paths.ready), _facts(now)
    same = before == facts
    kind_of = {**summary["inputs"], rows.target: rows.kind}
    history = {
        "changes": told["changes"] if same else profile.describe_changes(before, facts) if before else [],
        "moves": moves(paths.ready, now, told["moves"], kind_of),
    }
    with replace_folder(paths.described) as folder:
        (folder / PAGE).write_text(page(paths.name, now, rows, spec, {**summary, **history}), encoding="utf-8")
        write_json(folder / HISTORY, history)
    return history


def known(paths: Paths) -> dict[str, Any]:
    """The history that was told last."""
    path = paths.described / HISTORY
    return read_json(path) if path.is_file() else {"changes": [], "moves": {}}


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / SCHEMA
    return read_json(path) if path.is_file() else {}
