"""Compare a candidate with the baseline, a simple model and the released version on rows it has never seen.

Writes `evaluation/`: `metrics.json` for `dvc metrics show`, `plots/*.csv` for `dvc plots show`, `predictions.parquet`,
and `evidence.json`, from which the stage `report` draws a page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_directory, read_json, write_json
from evergreen.core.paths import METRICS, Paths
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.validate.config import ValidateConfig

if TYPE_CHECKING:
    import numpy as np

    from evergreen.stages.validate.evidence import Evidence, PairedDifference
    from evergreen.stages.validate.verdict import Verdict

VERSION = 4  # raised when the same inputs and settings give another result, by this stage's code or by what it shares


def run(
    config: ValidateConfig,
    paths: Paths,
    *,
    task: str,
    progress: Progress = no_progress,
    baseline_only: bool = False,
) -> dict[str, Any]:
    """Validate the candidate against the version that is released now; return the verdict and scores.

    With `baseline_only` that version is not asked, and a candidate that would be released waits for a person's word.

    Raises PipelineError or DataError where an input is missing; nothing is written then.
    """
    return validate(config, paths, released=released(paths, fetch=not baseline_only), progress=progress)


def validate(
    config: ValidateConfig, paths: Paths, *, released: tuple[str, Path | None] | None, progress: Progress = no_progress
) -> dict[str, Any]:
    """Validate the candidate against `released`, the version's name and the folder of its model; return the verdict.

    Without a folder the version is not asked.
    """
    from evergreen.stages.artifacts import folder_version
    from evergreen.stages.validate import evaluation
    from evergreen.stages.validate.evidence import collect_evidence
    from evergreen.stages.validate.verdict import decide

    progress(stage="validate", doing="answer the test rows")
    evidence = collect_evidence(paths.candidate, paths.ready, released, seed=config.seed)
    progress(stage="validate", doing="compare")
    gaps = {role: evidence.gap(other, config) for role, other in evidence.opponents.items()}
    verdict = decide(evidence, gaps, config)
    metrics = summarise(evidence, gaps, verdict, config)
    progress(stage="validate", doing="write the evidence")
    choice = read_json(paths.select) if paths.select.is_file() else {}
    with atomic_directory(paths.evaluation) as folder:
        write_json(folder / METRICS, metrics)
        read = {"candidate": folder_version(paths.candidate), "metrics": folder_version(folder)}
        evaluation.write(folder, evidence, choice, read)
    decider = next(iter(metrics["test"]))
    scores = {role: metrics[role][decider] for role in evidence.opponents}
    summary = {"verdict": verdict.word, "why": verdict.why, "rows_needed": verdict.rows_needed, "metric": decider}
    return summary | {"score": metrics["test"][decider], "opponents": scores}


def released(paths: Paths, *, fetch: bool = True) -> tuple[str, Path | None] | None:
    """Return the released version and the folder of its model; None before the first release or outside git."""
    if not (paths.root / ".git").exists():
        return None
    from evergreen.stages.engines import versions

    version = versions.released(paths.root).get(paths.name)
    return (version, versions.checkout(paths, version) if fetch else None) if version else None


def summarise(
    evidence: Evidence, gaps: dict[str, PairedDifference], verdict: Verdict, config: ValidateConfig
) -> dict[str, Any]:
    """Return the content of `metrics.json`."""
    scores: dict[str, Any] = {
        "verdict": verdict.word,
        "why": verdict.why,
        "rows_needed": verdict.rows_needed,
        "rows": evidence.rows,
        "confidence": config.confidence,
        "test": {name: vars(interval) for name, interval in evidence.intervals(config).items()},
        "difference": {role: gap.to_json() for role, gap in gaps.items()},
        "slices": {name: _slice(evidence, rows, config) for name, rows in slice_rows(evidence, config).items()},
    }
    scores |= {role: {**scored.overall_metrics} for role, scored in evidence.opponents.items()}
    if evidence.reference:
        scores["reference"]["model"] = evidence.reference.name
    if evidence.version:
        scores["released"] = scores.get("released", {}) | {"version": evidence.version}
    return scores


def slice_rows(evidence: Evidence, config: ValidateConfig) -> dict[str, np.ndarray[Any, Any]]:
    """Return the row numbers of each slice of time. Raises PipelineError for a slice without rows."""
    import numpy as np

    if not config.slices:
        return {}
    place, names = "validate.slices", evidence.table.column_names
    if "_time" not in names:
        raise PipelineError("no column is named as time", place=place, fix="name it: preprocess: {time: COLUMN}")
    times = evidence.table["_time"].to_numpy()
    slices = {}
    for name, (first, last) in config.slices.items():
        low, high = (np.asarray(bound).astype(times.dtype) for bound in (first, last))
        slices[name] = np.flatnonzero((times >= low) & (times <= high))
        if not len(slices[name]):
            span = f"{times.min()} to {times.max()}"
            raise PipelineError(f"no test row lies in {name!r}", place=place, fix=f"the test rows span {span}")
    return slices


def _slice(evidence: Evidence, rows: np.ndarray[Any, Any], config: ValidateConfig) -> dict[str, Any]:
    import torch

    chosen = torch.from_numpy(rows)
    test = {name: vars(interval) for name, interval in evidence.intervals(config, rows).items()}
    others = {role: scored.metrics(chosen) for role, scored in evidence.opponents.items()}
    return {"rows": len(rows), "test": test, **others}
