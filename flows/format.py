"""Say what is stale and why, and format scores as text and tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evergreen.core.progress import format_number

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))

if TYPE_CHECKING:
    from evergreen.core.paths import Paths
    from evergreen.stages.pipeline import Pipeline


def stale_reason(pipeline: Pipeline, paths: Paths, stage: str) -> str | None:
    """Return why a stage must run, or None. A changed source makes `collect` stale, which DVC cannot see."""
    from evergreen.stages.engines import versions

    reason = versions.stale_reason(pipeline, paths, stage)
    if reason is None and stage == "collect":
        from evergreen.stages.collect.stage import has_changed

        return "the source changed" if has_changed(pipeline.collect, paths) else None
    return reason


def format_scores(metrics: Mapping[str, Any]) -> str:
    """Format each score of the test split, with its interval where it has one, on one line."""
    spans = {name: format_interval(score) for name, score in metrics["test"].items()}
    parts = [
        f"{name} {format_number(score['value'])}" + (f" ({spans[name]})" if spans[name] else "")
        for name, score in metrics["test"].items()
    ]
    sure = f"{metrics['confidence']:.0%} intervals " if any(spans.values()) else ""
    return f"{', '.join(parts)}; {sure}over {metrics['rows']:,} test rows"


def format_interval(score: Mapping[str, Any]) -> str:
    """Format a score's interval; "" where it has none."""
    return "" if score["low"] is None else f"{format_number(score['low'])} to {format_number(score['high'])}"


def format_age(since: str) -> str:
    """Format how long ago a time was, in ISO 8601, by its largest unit: "3 d"."""
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 0)
    unit, length = next((unit for unit in UNITS if seconds >= unit[1]), UNITS[-1])
    return f"{seconds // length:.0f} {unit}"


def scores_table(metrics: Mapping[str, Any]) -> str:
    """Format the scores of the candidate and of its reference models as a Markdown table."""
    others = [name for name in ("baseline", "reference", "scratch", "svm", "released") if name in metrics]
    lines = [" | ".join(["| score", "candidate", "interval", *others]) + " |", "|---" * (3 + len(others)) + "|"]
    for name, score in metrics["test"].items():
        cells = [name, format_number(score["value"]), format_interval(score)]
        cells += [format_number(metrics[other].get(name, "")) for other in others]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def to_table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row for a table: lists and mappings become text."""
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in row.items()}


def format_monitored(latest: Mapping[str, Any]) -> str:
    """Format the estimated score of the newest window and the true one: "accuracy 0.94 estimated (0.92 to 0.96)"."""
    from evergreen.pages.wording import label, number_text

    one, parts = latest["estimated"], []
    if one:
        span = latest.get("unsure") or f"{number_text(one['low'])} to {number_text(one['high'])}"
        parts.append(f"{number_text(one['mean'])} estimated ({span})")
    if latest["true"] is not None:
        late = latest.get("true_until", latest["last"]) != latest["last"]
        until = f" until {latest['true_until'][:16]}" * late
        parts.append(f"{number_text(latest['true'])} true ({latest['labels']:,} labels{until})")
    return f"{label(latest['metric'])} {', '.join(parts)}" if parts else ""


def format_challenger(rollout: dict[str, Any] | None) -> str:
    """Say what is beside the version in production: "canary v1.3.0 for 10%"; "" for nothing."""
    if not rollout or not rollout["version"]:
        return ""
    share = f" for {rollout['share'] * 100:g}%" * bool(rollout["share"])
    return f"{rollout['role']} {rollout['version']}{share}"
