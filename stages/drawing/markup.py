"""The few pieces of HTML that every section is made of. All text from outside is escaped here or by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

NAMES = {
    **{name: name.upper() for name in ("auc", "auroc", "mse", "mae", "rmse", "mase", "f1", "psnr", "ssim", "fid")},
    **{"r2": "R²", "miou": "mIoU", "map": "mAP", "chrf": "chrF", "hr_at_10": "HR@10", "ndcg_at_10": "NDCG@10"},
}


def label(name: str) -> str:
    """A metric's or an option's name as people write it."""
    return NAMES.get(name, name.replace("_", " "))


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def table(head: Sequence[str], lines: Iterable[Sequence[Any]], *, best: int | None = None, prose: int = -1) -> str:
    """Columns of numbers after one of names; `best` is the line set in bold, `prose` a column that may wrap."""
    top = "".join(f"<th{_prose(number, prose)}>{escape(name)}</th>" for number, name in enumerate(head))
    body = []
    for number, line in enumerate(lines):
        cells = "".join(f"<td{_prose(column, prose)}>{escape(str(value))}</td>" for column, value in enumerate(line))
        body.append(f'<tr class="best">{cells}</tr>' if number == best else f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(body)}</table></div>' if body else ""


def _prose(column: int, prose: int) -> str:
    return ' class="text"' if column == prose else ""


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values, one under the other; what is empty is left out."""
    rows = [
        f"<dt>{escape(name)}</dt><dd>{escape(plain(value))}</dd>" for name, value in values.items() if _there(value)
    ]
    return f"<dl>{''.join(rows)}</dl>"


def _there(value: Any) -> bool:
    return value is not None and value != "" and value != {}


def plain(value: Any) -> str:
    """A value from JSON as a person would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "—" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
