"""Tell who decides about a candidate: the verdict of validate, or a person."""

from collections.abc import Mapping
from typing import Any

from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.stages.pipeline import Pipeline

MAX_GROWTH = 1.5  # times the bytes of the released version's weights
WEIGHTS = "weights.safetensors"


def is_released_by_verdict(pipeline: Pipeline, paths: Paths, metrics: Mapping[str, Any]) -> bool:
    """Tell whether the candidate goes into production without a person's word."""
    return metrics["verdict"] == "release" and not case_for_person(pipeline, paths, metrics)


def waits_for_person(pipeline: Pipeline, paths: Paths, metrics: Mapping[str, Any]) -> str:
    """Return why the candidate waits for a person's word; "" where it does not, or a person decided."""
    from evergreen.stages.engines import versions

    case = case_for_person(pipeline, paths, metrics)
    return case if case and versions.candidate_version(paths) is None else ""


def ask_for_word(name: str, case: str) -> str:
    """Say that a candidate waits, why, and how it is decided about."""
    return f"for your word ({case}): evergreen approve {name}, or evergreen reject {name} --reason …"


def case_for_person(pipeline: Pipeline, paths: Paths, metrics: Mapping[str, Any]) -> str:
    """Return why a person decides about a candidate that proved better; "" where nobody has to."""
    release, verdict = pipeline.operation.release, metrics["verdict"]
    if verdict == "ask":
        return "the comparison cannot settle it"
    if verdict != "release" or release == "auto":
        return ""
    if release == "ask":
        return f"pipelines/{pipeline.name}.yaml says release: ask"
    cases = {"score drop": _dropped_score, "size": _growth}  # for a new class, the verdict is "ask"
    reasons = (cases[case](paths, metrics) for case in release.ask_when if case in cases)
    return "; ".join(filter(None, reasons))


def _dropped_score(paths: Paths, metrics: Mapping[str, Any]) -> str:
    """Name the scores that are worse than the released version's by more than their intervals say."""
    released = metrics.get("released", {})
    shared = [name for name in metrics["test"] if name in released]
    directions = read_json(paths.evaluation / "evidence.json", "metrics")["metrics"] if shared else {}
    dropped = []
    for name in shared:
        score = metrics["test"][name]
        is_least = directions[name] == "min"
        best = score.get("low" if is_least else "high")
        best = score["value"] if best is None else best
        if best > released[name] if is_least else best < released[name]:
            dropped.append(name)
    return f"{', '.join(dropped)} fell against the released {released.get('version')}" if dropped else ""


def _growth(paths: Paths, metrics: Mapping[str, Any]) -> str:
    """Say how much larger than the released version's weights the candidate's are, where that is much."""
    version = metrics.get("released", {}).get("version")
    if not version:
        return ""
    file = paths.released / version / WEIGHTS
    if not file.is_file():
        return f"the size of the released {version} is unknown here"
    growth = (paths.candidate / WEIGHTS).stat().st_size / max(file.stat().st_size, 1)
    return f"it is {growth:.1f} times as large as the released {version}" if growth > MAX_GROWTH else ""
