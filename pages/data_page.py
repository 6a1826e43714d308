"""Draw the page a person reads before anything is learned: what the rows hold, what was found in them, what changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.core.marks import Fold, Items, Mark, StyledText, Table, Text
from evergreen.pages.layout import render

Json = Mapping[str, Any]
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
WAYS = {"time": "by time", "group": "by group", "given": "as a column says", "identity": "by what each row is"}
MIDNIGHT = "T00:00:00.000000"
MAX_REASONS = 12  # why rows were quarantined
MAX_CLASSES = 20  # in the table of splits
LONGEST = 160  # characters of an example
CHECKED = "Checked: near-duplicates across splits, columns that predict too well or may be missing later, and drift."
FOOTER = "The same data, settings and code, prepared after the same version, give this page again."


def page(name: str, summary: Json, facts: Json) -> str:
    """Return the page of pipeline `name`; `summary` is what summary.json and history.json hold, `facts` facts.json."""
    task = facts["task"].replace("_", " ").capitalize()
    n_rows, n_columns = sum(summary["rows"].values()), facts["n_inputs"]
    columns = f"{n_columns:,} column{'s' * (n_columns != 1)} and the target"
    size = f", {n_rows:,} rows of {columns}, split {WAYS.get(summary['by'], '')}"
    sections = {
        "Leaks and drift": _leaks(summary),
        "What to know": _list(summary["notes"]),
        "What changed since the last version": _changes(summary),
        "The splits side by side": [*_splits(summary), *facts["over_time"]],
        "The columns": facts["columns"],
        "Some training rows": facts["examples"],
        "Quarantined rows": _quarantine(summary, facts["quarantine"]),
    }
    return render(
        f"{name}: the data",
        lead=StyledText([(f"{task} of ", ""), (facts["target"], "strong"), (size, "")]),
        verdict=_verdict(summary),
        cards=_cards(summary),
        sections=[_section(title, marks) for title, marks in sections.items()],
        footer=FOOTER,
    )


def _section(title: str, marks: Sequence[Mark | Json]) -> Json:
    return {"title": title, "marks": [mark.to_json() if isinstance(mark, Mark) else mark for mark in marks]}


def _verdict(summary: Json) -> tuple[str, str, str]:
    if summary["leaks"] is None:
        return "keep", "Leaks were not looked for", "The pipeline says so: leakage_checks: off."
    if grave := [leak["text"] for leak in summary["leaks"] if leak["grave"]]:
        return "wait", "Read this before you trust a score", grave[0]
    return "release", "Nothing was found that would flatter the scores", CHECKED


def _cards(summary: Json) -> list[tuple[str, str, list[str]]]:
    n_bad, n_rows = summary["quarantined"]["rows"], sum(summary["rows"].values())
    cards = [
        (label, f"{summary['rows'][split]:,}", [f"{summary['rows'][split] / n_rows:.0%} of the rows"])
        for split, label in SPLITS.items()
    ]
    return [*cards, ("quarantined", f"{n_bad:,}", [f"{n_bad / max(1, n_bad + n_rows):.1%} of all"])]


def _leaks(summary: Json) -> list[Mark]:
    items: list[list[Mark]] = []
    for leak in summary["leaks"] or ():
        pairs = [[Text(f"`{mine}` and `{like}`")] for mine, like in leak["rows"]]
        text = Text(("Beware: " if leak["grave"] else "") + leak["text"])
        items.append([text, Fold("such as", [Items(pairs)])] if pairs else [text])
    return [Items(items)]


def _list(texts: Sequence[str]) -> list[Mark]:
    return [Items([[Text(text)] for text in texts])]


def _changes(summary: Json) -> list[Mark]:
    moves, changes = summary["moves"], summary["changes"]
    if not moves:
        return _list(changes)
    rows = [[label, moves["rows"][split]["came"], moves["rows"][split]["went"]] for split, label in SPLITS.items()]
    counted = f"Counted on {moves['share']:.1%} of the rows, those with the smallest ids."
    moved = f"{moves['moved']:,} rows are in another split than before."
    return [
        Table(["split", "new rows", "removed rows"], rows),
        *([Text(counted, note=True)] if moves["share"] != 1 else []),
        *([Text(moved)] if moves["moved"] else []),
        *_list([*changes, *moves["columns"]]),
    ]


def _splits(summary: Json) -> list[Mark]:
    total, classes = sum(summary["rows"].values()), summary["classes"]
    rows: list[list[Any]] = [["rows", *(summary["rows"][split] for split in SPLITS)]]
    rows.append(["share", *(f"{summary['rows'][split] / total:.1%}" for split in SPLITS)])
    common = sorted(classes.get("train", {}), key=lambda name: -classes["train"][name])
    for name in common[:MAX_CLASSES]:
        counts = [(classes[split].get(name, 0), summary["rows"][split]) for split in SPLITS]
        rows.append([name, *(f"{count:,} ({count / max(1, n_rows):.1%})" for count, n_rows in counts)])
    cuts = [f"{name.replace('_', ' ')} {str(cut).removesuffix(MIDNIGHT)}" for name, cut in summary["cuts"].items()]
    more = [f"and {len(common) - MAX_CLASSES} classes more"] if len(common) > MAX_CLASSES else []
    notes = [*more, *([", ".join(cuts)] if cuts else [])]
    return [Table(["", *SPLITS.values()], rows), *(Text(note, note=True) for note in notes)]


def _quarantine(summary: Json, examples: Json) -> list[Mark]:
    reasons = sorted(summary["quarantined"]["reasons"].items(), key=lambda item: -item[1])
    if not reasons:
        return [Text("None.")]
    folds: list[Mark] = []
    for reason, count in reasons[:MAX_REASONS]:
        rows = examples.get(reason, [])
        pieces = [[StyledText([(row["origin"], "code"), (" " + row["row"][:LONGEST], "soft")])] for row in rows]
        folds.append(Fold(f"{reason}: {count:,}", [Items(pieces)]))
    more = len(reasons) - MAX_REASONS
    return [*folds, *([Text(f"and {more} reasons more", note=True)] if more > 0 else [])]
