"""The page a person reads before a release: self-contained HTML, the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from evergreen.stages.drawing.markup import label
from evergreen.stages.drawing.pictures import number_text
from evergreen.stages.drawing.sheet import sheet
from evergreen.stages.report import sections
from evergreen.stages.report.mistakes import mistakes
from evergreen.stages.report.outcomes import outcome

if TYPE_CHECKING:
    from evergreen.stages.validate.evidence import Evidence

Json = Mapping[str, Any]
VERDICTS = {  # word → style, headline for a first version, headline against a released one, strokes of the icon
    "release": ("release", "Release it", "Release it", "M14 23l6 6 12-13"),
    "keep": ("keep", "Do not release it", "Keep the released version", "M16 16l14 14M30 16L16 30"),
    "more data": ("wait", "More test rows are needed to tell", "Keep the released version for now", "M23 13v11l7 4"),
}


def page(name: str, evidence: Evidence, metrics: Json, *, choice: Json, search: Json, data: Json) -> str:
    """The whole page of pipeline `name`.

    `metrics` is what metrics.json holds, `choice` and `search` what select and tune wrote, `data` the counts that
    preprocess wrote; an empty one is answered by a sentence in its section.
    """
    card = evidence.model.card
    title, drawn = outcome(evidence)
    parts = {
        "Compared on the same rows": sections.comparison(evidence, metrics),
        "Slices": sections.slices(metrics),
        title: drawn,
        "Where it is wrong": mistakes(evidence),
        "Why this architecture": sections.architecture(card, choice),
        "How its options were found": sections.options(search),
        "How it learned": sections.learning(evidence),
        "The data": sections.data(data, evidence.model.spec, name),
        "The model": sections.model(card),
    }
    head = f"<header><h1>{escape(name)}</h1>{_lead(evidence)}</header>{verdict(metrics)}{numbers(metrics)}"
    footer = (
        f"Intervals hold the true value with {metrics['confidence']:.0%} confidence. "
        "The same data, code and settings make this very page again."
    )
    return sheet(f"{name}: {metrics['verdict']}", head, parts, footer)


def _lead(evidence: Evidence) -> str:
    card, target = evidence.model.card, evidence.model.spec.target_name
    who = f"{escape(card['task'].capitalize())} of <b>{escape(target)}</b> by <b>{escape(card['architecture'])}</b>"
    whole = evidence.model.spec.rows["test"]
    rows = f"{evidence.rows:,}" if evidence.rows >= whole else f"a sample of {evidence.rows:,} of the {whole:,}"
    return f"<p>{who}, judged on {rows} test rows it has never seen</p>"


def verdict(metrics: Json) -> str:
    """The word, with its colour and its sign, and the reason."""
    style, first, later, strokes = VERDICTS[metrics["verdict"]]
    circle = '<circle cx="23" cy="23" r="20" fill="none" stroke="currentColor" stroke-width="3"/>'
    icon = f'<svg viewBox="0 0 46 46" aria-hidden="true">{circle}<path d="{strokes}"/></svg>'
    head = later if "released" in metrics else first
    return f'<div class="verdict {style}">{icon}<div><strong>{head}</strong><p>{escape(metrics["why"])}</p></div></div>'


def numbers(metrics: Json) -> str:
    """One card per metric: the value, its interval, the baseline's."""
    cards = []
    for name, found in metrics["test"].items():
        span = "" if found["low"] is None else f"{number_text(found['low'])} to {number_text(found['high'])}"
        base = f"baseline {number_text(metrics['baseline'].get(name))}"
        value = number_text(found["value"])
        cards.append(
            f"<div><span>{escape(label(name))}</span><b>{value}</b><small>{span}</small><small>{base}</small></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'
