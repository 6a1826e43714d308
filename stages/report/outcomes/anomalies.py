"""How surprised the model is by normal and by other rows, and the rows that surprise it most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.stages.drawing.markup import note, paragraph, table
from evergreen.stages.drawing.pictures import Line, chart, image, number_text

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

TITLE = "How surprised it is"
BINS, SHOWN = 40, 12


def draw(evidence: Evidence) -> str:
    """A histogram of the scores with the threshold, what the alarms come to, and the most surprising rows."""
    task: Any = evidence.candidate.task
    score, odd = evidence.candidate.output().numpy(), (evidence.candidate.target != task.normal).numpy()
    limit = float(task.threshold)
    edges = np.linspace(score.min(), max(np.quantile(score, 0.99), limit), BINS + 1)
    sides = (("normal", ~odd, "a"), ("others", odd, "b"))
    lines = [_steps(name, score[rows], edges, style) for name, rows, style in sides]
    drawn = chart(lines, x="surprise", y="share of the rows", mark=limit)
    said = (
        f"Normal is {task.classes[task.normal]!s}. A row raises an alarm above {number_text(limit)}, the dashed line, "
        f"chosen so that at most {task.false_alarms:.1%} of normal rows do; here {(score[~odd] > limit).mean():.1%} "
        f"did, of {(~odd).sum():,}."
    )
    return paragraph(said) + drawn + _by_class(evidence, task, score) + _surprising(evidence, score)


def _steps(name: str, score: np.ndarray[Any, Any], edges: np.ndarray[Any, Any], style: str) -> Line:
    counts, _ = np.histogram(score.clip(edges[0], edges[-1]), edges)
    shares, places = counts / max(1, len(score)), np.repeat(edges, 2)[1:-1]
    return Line(name, list(zip(places.tolist(), np.repeat(shares, 2).tolist(), strict=True)), style)


def _by_class(evidence: Evidence, task: Any, score: np.ndarray[Any, Any]) -> str:
    target, limit, lines = evidence.candidate.target.numpy(), float(task.threshold), []
    for index, name in enumerate(task.classes):
        own = score[target == index]
        if len(own):
            usual, alarms = number_text(float(np.median(own))), f"{(own > limit).mean():.1%}"
            lines.append([str(name), f"{len(own):,}", usual, alarms])
    return table([evidence.model.spec.target_name, "rows", "median surprise", "alarms"], lines)


def _surprising(evidence: Evidence, score: np.ndarray[Any, Any]) -> str:
    """Pictures of the rows with the highest scores; nothing where rows are no pictures."""
    images = [name for name, field in evidence.model.spec.inputs.items() if field.kind == "image"]
    if not images:
        return ""
    rows, truth, figures = np.argsort(-score, kind="stable")[:SHOWN], evidence.truth(), []
    arrays = evidence.model.spec.encode(evidence.table.take(rows), target=False)[images[0]]
    for array, row in zip(arrays, rows, strict=True):
        said = note(f"{number_text(float(score[row]))}, is {truth[row]}")
        figures.append(f"<figure>{image(array, f'test row {row}')}{said}</figure>")
    return note(f"The {len(rows)} test rows that surprise it most.") + _grid(figures)


def _grid(figures: list[str]) -> str:
    return f'<div class="wrong-ones">{"".join(figures)}</div>'
