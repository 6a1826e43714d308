"""Test rows with those nearest to them, and how far apart pairs of one class and of two are."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from evergreen.stages.drawing.markup import note
from evergreen.stages.drawing.pictures import Line, chart, image, number_text

if TYPE_CHECKING:
    from torch import Tensor

    from evergreen.stages.validate.evidence import Evidence

TITLE = "What is near to what"
ROWS, NEAREST = 8, 5  # test rows shown, and neighbours of each
POINTS = 80  # of a curve


def draw(evidence: Evidence) -> str:
    """The rows are evenly spread from the best retrieved to the worst; a neighbour of another class is named orange."""
    unit = evidence.candidate.output().float().numpy()
    order = np.argsort(-evidence.candidate.row_scores, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(ROWS, len(order))).round().astype(int)]
    similar = unit[chosen] @ unit.T
    similar[np.arange(len(chosen)), chosen] = -np.inf
    near = np.argsort(-similar, axis=1, kind="stable")[:, :NEAREST]
    shown = {int(row): art for row, art in _art(evidence, np.unique(np.concatenate([chosen, near.ravel()])))}
    truth = evidence.truth()
    cells = []
    for place, (row, others) in enumerate(zip(chosen, near, strict=True)):
        cells.append(f"<figure>{shown[int(row)]}<b>{escape(str(truth[row]))}</b></figure>")
        for other in others:
            style = "" if truth[other] == truth[row] else ' style="color:var(--b);font-weight:650"'
            said = f"<span{style}>{escape(str(truth[other]))}</span>, {number_text(float(similar[place, other]))}"
            cells.append(f"<figure>{shown[int(other)]}{said}</figure>")
    columns = f"display:grid;grid-template-columns:repeat({NEAREST + 1},1fr);gap:10px"
    about = "On the left a test row, then those nearest to it with their cosine; from the best retrieved to the worst."
    return _pairs(evidence) + note(about) + f'<div style="{columns}">{"".join(cells)}</div>'


def _art(evidence: Evidence, rows: np.ndarray) -> list[tuple[int, str]]:
    """Each row's first image, where it has one."""
    images = [name for name, field in evidence.model.spec.inputs.items() if field.kind == "image"]
    if not images:
        return [(int(row), "") for row in rows]
    arrays = evidence.model.spec.encode(evidence.table.take(rows), target=False)[images[0]]
    return [(int(row), image(array, f"test row {row}")) for row, array in zip(rows, arrays, strict=True)]


def _pairs(evidence: Evidence) -> str:
    """How cosines are spread among pairs of one class and of two, and where the line between them is drawn."""
    facts, _ = evidence.candidate.metric_inputs
    same, other = facts[:, 2:].double().sum(0).view(2, -1)
    lines = [
        Line("pairs of one class", _spread(same), "a"),
        Line("pairs of two classes", _spread(other), "b"),
    ]
    mark = float(evidence.candidate.task.threshold)  # type: ignore[arg-type]
    drawn = chart(lines, x="cosine of the pair", y="share of the pairs", mark=mark, height=240)
    return note("The dashed line is the threshold: from there on two rows are taken for one class.") + drawn


def _spread(count: Tensor) -> list[tuple[float, float]]:
    whole = count.view(POINTS, -1).sum(1) / count.sum().clamp_min(1)
    return [((place + 0.5) / POINTS * 2 - 1, float(share)) for place, share in enumerate(whole)]
