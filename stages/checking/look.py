"""What happens to prepared rows after they are written and before they take their place: a look, and a page of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.checking import leaks, samples
from stages.describing.moves import moves
from stages.describing.page import page

if TYPE_CHECKING:
    from data.spec import Spec

PAGE = "report.html"


class Wishes(Protocol):
    """What a pipeline says that matters here; see `stages.preprocess.Params` for each."""

    @property
    def key(self) -> list[str]: ...
    @property
    def leaks(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...


def look(
    name: str, ready: Path, before: Path, spec: Spec, summary: Mapping[str, Any], wishes: Wishes
) -> dict[str, Any]:
    """Writes the page into `ready`, where the rows are, and returns the summary with what was found: `leaks` as JSON,
    the grave first, None where they are not looked for, and `moves`, what changed since the rows in `before`.

    Raises PipelineError where something grave is found and the pipeline says `leaks: stop`.
    """
    rows = samples.read(ready, spec, summary["inputs"], wishes.memory_mb)
    found = None if wishes.leaks == "off" else leaks.find(rows, differ=_differ(spec, summary, wishes))
    if wishes.leaks == "stop":
        leaks.stop(found or ())
    last = before / "summary.json"
    told = json.loads(last.read_text(encoding="utf-8")).get("moves", {}) if last.is_file() else {}
    whole = {
        **summary,
        "leaks": None if found is None else [asdict(leak) for leak in found],
        "moves": moves(before, ready, told, {**summary["inputs"], spec.target_name: spec.target.kind}),
    }
    (ready / PAGE).write_text(page(name, ready, rows, whole), encoding="utf-8")
    return whole


def _differ(spec: Spec, summary: Mapping[str, Any], wishes: Wishes) -> bool:
    """Whether the splits are made to differ: by time, by groups, or by what the task learns from."""
    from models.base import Task
    from models.catalogue import task

    moved = task(spec.task).learns_from is not Task.learns_from
    return summary["by"] != "identity" or bool(wishes.key) or moved
