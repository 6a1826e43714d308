"""The page a person reads before anything is learned: what the rows hold, what was found in them, what changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.data.prepare import invalid_rows
from evergreen.data.prepare.splitters import MIDNIGHT
from evergreen.data.prepared import QUARANTINED, row_groups
from evergreen.stages.describing.columns import columns
from evergreen.stages.describing.course import course
from evergreen.stages.describing.examples import examples
from evergreen.stages.drawing.markup import note, paragraph, table
from evergreen.stages.drawing.sheet import sheet

if TYPE_CHECKING:
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.preprocess.samples import Samples

Json = Mapping[str, Any]
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
REASONS, SHOWN = 12, 3  # why rows were set aside, and examples of each
CLASSES = 20  # in the table of splits
LONGEST = 160  # characters of an example
LOOKED = "Twins across splits, columns that tell too much or will not be there, and drift were looked for."
CLEAR = ("release", "Nothing was found that would flatter the scores", "M14 23l6 6 12-13")
LOOK = ("wait", "Look at this before you trust a score", "M23 13v13M23 32v1")
OFF = ("keep", "Leaks were not looked for", "M16 23h14")


def page(name: str, ready: Path, samples: Samples, spec: FeatureSpec, summary: Json) -> str:
    """The page of pipeline `name`, of the rows in `ready`; `summary` is what summary.json and history.json hold."""
    rows, target = sum(summary["rows"].values()), samples.target
    task = spec.task.replace("_", " ").capitalize()
    head = (
        f"<header><h1>{escape(name)}: the data</h1><p>{escape(task)} of <b>{escape(target)}</b>, "
        f"{rows:,} rows of {_columns(samples)}{_by(summary)}</p></header>{_verdict(summary)}{_cards(summary)}"
    )
    sections = {
        "Leaks and drift": _leaks(summary),
        "What to know": _list(summary["notes"]),
        "What changed since the last version": _changes(summary),
        "The splits side by side": _splits(summary, samples),
        "The columns": _seen(samples) + columns(samples, summary["missing"], rows),
        "Some training rows": examples(samples, spec),
        "Rows set aside": _aside(ready, summary),
    }
    footer = "The same data, settings and code, prepared after the same version, make this very page again."
    return sheet(f"{name}: the data", head, sections, footer)


def _columns(samples: Samples) -> str:
    return f"{len(samples.inputs):,} column{'s' * (len(samples.inputs) != 1)} and the target"


def _by(summary: Json) -> str:
    how = {"time": "by time", "group": "by group", "given": "as a column says", "identity": "by what each row is"}
    return f", split {how.get(summary['by'], '')}"


def _verdict(summary: Json) -> str:
    grave = [leak["text"] for leak in summary["leaks"] or () if leak["grave"]]
    (style, head, strokes), why = (LOOK, grave[0]) if grave else (CLEAR, LOOKED)
    if summary["leaks"] is None:
        (style, head, strokes), why = OFF, "The pipeline says so: leaks: off."
    circle = '<circle cx="23" cy="23" r="20" fill="none" stroke="currentColor" stroke-width="3"/>'
    icon = f'<svg viewBox="0 0 46 46" aria-hidden="true">{circle}<path d="{strokes}"/></svg>'
    return f'<div class="verdict {style}">{icon}<div><strong>{head}</strong><p>{_told(why)}</p></div></div>'


def _cards(summary: Json) -> str:
    aside, rows = summary["quarantined"]["rows"], sum(summary["rows"].values())
    cards = {
        label: (f"{summary['rows'][split]:,}", f"{summary['rows'][split] / rows:.0%} of the rows")
        for split, label in SPLITS.items()
    }
    cards["set aside"] = (f"{aside:,}", f"{aside / max(1, aside + rows):.1%} of all")
    drawn = "".join(
        f"<div><span>{name}</span><b>{value}</b><small>{escape(more)}</small></div>"
        for name, (value, more) in cards.items()
    )
    return f'<div class="cards">{drawn}</div>'


def _leaks(summary: Json) -> str:
    if not summary["leaks"]:
        return ""
    parts = []
    for leak in summary["leaks"]:
        mark = "<b>!</b> " if leak["grave"] else ""
        pairs = "".join(
            f"<li><code>{escape(mine)}</code> and <code>{escape(like)}</code></li>" for mine, like in leak["rows"]
        )
        shown = f"<details><summary>such as</summary><ul>{pairs}</ul></details>" if pairs else ""
        parts.append(f"<li>{mark}{_told(leak['text'])}{shown}</li>")
    return f"<ul>{''.join(parts)}</ul>"


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_told(text)}</li>' for text in texts)}</ul>" if texts else ""


def _told(text: str) -> str:
    """A text with what is to be typed set off."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _changes(summary: Json) -> str:
    found = summary["moves"]
    held = summary["changes"]
    if not found:
        return _list(held)
    rows = [(label, found["rows"][split]) for split, label in SPLITS.items()]
    lines = [[label, f"{one['came']:,}", f"{one['went']:,}"] for label, one in rows]
    about = (
        "" if found["share"] == 1 else note(f"Counted on {found['share']:.1%} of the rows, those of smallest identity.")
    )
    moved = paragraph(f"{found['moved']:,} rows are in another split than before.") if found["moved"] else ""
    return table(["split", "rows that came", "rows that went"], lines) + about + moved + _list(held + found["columns"])


def _splits(summary: Json, samples: Samples) -> str:
    total = sum(summary["rows"].values())
    lines = [["rows", *(f"{summary['rows'][split]:,}" for split in SPLITS)]]
    lines.append(["share", *(f"{summary['rows'][split] / total:.1%}" for split in SPLITS)])
    classes = summary["classes"]
    common = sorted(classes.get("train", {}), key=lambda name: -classes["train"][name])
    for name in common[:CLASSES]:
        counts = [(classes[split].get(name, 0), summary["rows"][split]) for split in SPLITS]
        lines.append([name, *(f"{count:,} ({count / max(1, rows):.1%})" for count, rows in counts)])
    more = note(f"and {len(common) - CLASSES} classes more") if len(common) > CLASSES else ""
    said = {name.replace("_", " "): str(cut).removesuffix(MIDNIGHT) for name, cut in summary["cuts"].items()}
    cuts = note(", ".join(f"{name} {cut}" for name, cut in said.items()))
    return table(["", *SPLITS.values()], lines) + more + (cuts if said else "") + course(samples)


def _seen(samples: Samples) -> str:
    """Of how many rows the pictures are, where not of all."""
    shown = {split: len(held) for split, held in zip(SPLITS, samples.tables, strict=True)}
    if all(count >= samples.rows[split] for split, count in shown.items()):
        return ""
    counts = ", ".join(f"{count:,} of {samples.rows[split]:,} {SPLITS[split]}" for split, count in shown.items())
    return note(f"Drawn from {counts} rows, those of smallest identity.")


def _aside(ready: Path, summary: Json) -> str:
    reasons = summary["quarantined"]["reasons"]
    if not reasons:
        return paragraph("None.")
    held = invalid_rows.examples_by_reason([row_groups(ready, QUARANTINED)[0].read()], SHOWN)
    parts = []
    for reason, count in sorted(reasons.items(), key=lambda one: -one[1])[:REASONS]:
        lines = "".join(
            f'<li><code>{escape(one["origin"])}</code> <span class="soft">{escape(one["row"][:LONGEST])}</span></li>'
            for one in held.get(reason, [])
        )
        parts.append(f"<details><summary>{escape(reason)}: <b>{count:,}</b></summary><ul>{lines}</ul></details>")
    more = len(reasons) - REASONS
    return "".join(parts) + (note(f"and {more} reasons more") if more > 0 else "")
