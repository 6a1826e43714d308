"""Draw the page a person reads before a release: the verdict first, then what it rests on."""

from collections.abc import Iterator, Mapping
from typing import Any

from evergreen.core.marks import Chart, Dot, DotPlot, Line, Link, Mark, Section, StyledText, Table, Text, Values
from evergreen.pages.layout import render
from evergreen.pages.search_section import draw_search
from evergreen.pages.wording import format_gap, label, number_text, plain

Json = Mapping[str, Any]
DATA_PAGE = "../../../../data/store/{name}/described/report.html"  # from where a pipeline's report lies
VERDICTS = {  # word → style, headline for a first version, headline against a released one
    "release": ("release", "Release it", "Release it"),
    "ask": ("wait", "It waits for a person's word", "It waits for a person's word"),
    "keep": ("keep", "Do not release it", "Keep the released version"),
    "more data": ("wait", "More test rows are needed", "Keep the released version for now"),
}
COSTS = {"parameters": "parameters", "epochs": "epochs", "seconds": "fit, s", "predict_ms": "predict, ms"}
ROLES = {"baseline": "baseline", "reference": "simple model", "released": "released"}


def page(name: str, *, metrics: Json, evidence: Json, card: Json, choice: Json, search: Json, data: Json) -> str:
    """Return the page of pipeline `name`.

    `metrics` and `evidence` are what validate wrote, `card` the candidate's model.json, `choice` and `search` what
    select and tune wrote, `data` the summary of preprocess; an empty one is answered by a sentence in its section.
    """
    style, first, later = VERDICTS[metrics["verdict"]]
    footer = (
        f"Intervals hold the true value with {metrics['confidence']:.0%} confidence. "
        "The same data, code and settings give this page again."
    )
    return render(
        f"{name}: {metrics['verdict']}",
        heading=name,
        lead=_lead(card, evidence, metrics),
        verdict=(style, later if "released" in metrics else first, metrics["why"]),
        cards=_cards(metrics),
        sections=[
            Section("Compared on the same rows", list(_comparison(metrics, evidence, card))),
            Section("Slices", [_slices(metrics)]),
            *evidence["sections"],
            Section("Why this architecture", _architecture(card, choice)),
            Section("How its options were chosen", draw_search(search)),
            Section("Learning curves", _learning(card, next(iter(evidence["metrics"])))),
            Section("The data", list(_data(data, evidence["rows"], name))),
            Section("The model", [_model(card)]),
        ],
        footer=footer,
    )


def _lead(card: Json, evidence: Json, metrics: Json) -> StyledText:
    n_all, n_rows = evidence["rows"]["test"], metrics["rows"]
    rows = f"{n_rows:,}" if n_rows >= n_all else f"a sample of {n_rows:,} of the {n_all:,}"
    return StyledText(
        [
            (card["task"].replace("_", " ").capitalize() + " of ", ""),
            (evidence["target"], "strong"),
            (" by ", ""),
            (card["architecture"], "strong"),
            (f", judged on {rows} test rows it has never seen", ""),
        ]
    )


def _cards(metrics: Json) -> Iterator[tuple[str, str, list[str]]]:
    """Make a card for each metric: the value, its interval, the baseline's."""
    for name, score in metrics["test"].items():
        span = [] if score["low"] is None else [f"{number_text(score['low'])} to {number_text(score['high'])}"]
        base = f"baseline {number_text(metrics['baseline'].get(name))}"
        yield label(name), number_text(score["value"]), [*span, base]


def _comparison(metrics: Json, evidence: Json, card: Json) -> Iterator[Mark]:
    """Draw the deciding metric, list every metric and the paired tests, and say in a sentence what they mean."""
    directions, names = evidence["metrics"], evidence["names"]
    decider = next(iter(directions))
    score = metrics["test"][decider]
    dots = [Dot("this candidate", score["value"], score["low"], score["high"], "a")]
    dots += [Dot(text, metrics[role][decider]) for role, text in names.items()]
    order = "more is better" if directions[decider] == "max" else "less is better"
    yield DotPlot(dots, f"{label(decider)} ({order})")
    head = ["", *(f"{label(name)} {'↑' if way == 'max' else '↓'}" for name, way in directions.items())]
    rows = [["this candidate", *(metrics["test"][name]["value"] for name in directions)]]
    rows += [[text, *(metrics[role].get(name) for name in directions)] for role, text in names.items()]
    yield Table(head, [[row[0], *map(number_text, row[1:])] for row in rows], best=0)
    gaps = metrics["difference"]
    yield Table(
        ["compared with", "the candidate has", "test"],
        [[names[role], format_gap(gap), gap["test"]] for role, gap in gaps.items()],
    )
    chance = 1 - metrics["confidence"]
    if "reference" in names:
        yield Text(_against_simple(gaps["reference"], names["reference"], chance))
    if "scratch" in gaps:
        yield Text(_transferred(card, gaps["scratch"], chance))
    if evidence["refusal"]:
        yield Text(f"The released {evidence['version']} cannot predict these rows: {evidence['refusal']}.")


def _against_simple(gap: Json, name: str, chance: float) -> str:
    """Say whether the network is worth more than the simple model."""
    if gap["p"] >= chance:
        return f"These rows show no significant difference between it and the simple model ({name})."
    if gap["value"] > 0:
        return f"It is significantly better than the simple model ({name})."
    return f"The simple model ({name}) beats it: prefer that one, or gather more data."


def _transferred(card: Json, gap: Json, chance: float) -> str:
    """Say whether the weights it began with were worth it."""
    frozen = ", its features frozen," if card["freeze"] == "features" else ""
    subject = f"Started from {card['start']}{frozen} it is"
    if gap["p"] >= chance:
        return f"{subject} not significantly different from the same network trained from scratch."
    if gap["value"] > 0:
        return f"{subject} significantly better than the same network trained from scratch: the transfer helps."
    return (
        f"{subject} significantly worse than the same network trained from scratch: the transfer hurts, leave it out."
    )


def _slices(metrics: Json) -> Table:
    """Draw the deciding metric within each slice; nothing where no slices were asked for."""
    roles = {role: text for role, text in ROLES.items() if role in metrics["difference"]}
    rows = []
    for name, scores in metrics["slices"].items():
        metric, score = next(iter(scores["test"].items()))
        span = "" if score["low"] is None else f" ({number_text(score['low'])} to {number_text(score['high'])})"
        others = (number_text(scores[role][metric]) for role in roles)
        rows.append([name, scores["rows"], number_text(score["value"]) + span, *others])
    return Table(["slice", "rows", f"{label(next(iter(metrics['test'])))} of the candidate", *roles.values()], rows)


def _architecture(card: Json, choice: Json) -> list[Mark]:
    """Draw the race between architectures."""
    board = choice.get("leaderboard", [])
    if not board:
        given = f"The architecture {card['architecture']} was given; no race between architectures is recorded"
        return [Text(f"{choice.get('why', given)}.")]
    dots, rows, best, metric = [], [], None, label(choice["metric"])
    for number, entry in enumerate(board):
        score, spread = entry.get("score"), entry.get("standard_error") or 0.0
        if chosen := entry["architecture"] == choice["architecture"]:
            best = number
        if score is not None:
            dots.append(Dot(entry["architecture"], score, score - spread, score + spread, "a" if chosen else "b"))
        shown = number_text(score) + (f" ± {number_text(spread)}" if spread else "")
        figures = [entry.get(name) or None for name in COSTS]
        rows.append([entry["architecture"] + (" (chosen)" if chosen else ""), shown, *figures])
    marks: list[Mark] = [
        Text(f"{choice['architecture']} was chosen: {choice.get('why', '')}."),
        DotPlot(dots, f"{metric} on validation rows, ± one standard error; blue is the one chosen"),
        Table(["architecture", f"validation {metric}", *COSTS.values()], rows, best),
    ]
    if folds := choice.get("folds"):
        text = (
            f"Finalists were scored over {folds} folds of the training and the validation rows, each row by a network "
            "that had not seen it. No test row is in a fold."
        )
        marks.append(Text(text))
    return marks


def _learning(card: Json, decider: str) -> list[Mark]:
    """Draw losses and the deciding metric by epoch."""
    history = card.get("history") or []
    if not history:
        return [Text("No learning curve is recorded with this model.")]

    def curve(key: str, text: str, style: str) -> Line:
        return Line(text, [(row["epoch"], row[key]) for row in history if row.get(key) is not None], style)

    refit = "At the end the network was also trained on the validation rows, so these curves are too good. "
    refit += (
        f"Intervals and probabilities come from {card['folds']} networks, each trained without a fold of these rows."
        if card.get("folds")
        else "Intervals and thresholds come from the same network trained without them."
    )
    skipped = "No step was made where the gradient was no number, or leapt: rows of epochs " + ", ".join(
        f"{row['epoch']} ({row['skipped_rows']:,})" for row in history if "skipped_rows" in row
    )
    losses = [
        curve("train_loss", "loss on training rows", "a"),
        curve("validation_loss", "loss on validation rows", "b"),
    ]
    return [
        *([Text(refit)] if card.get("refit") else []),
        *([Text(skipped)] if any("skipped_rows" in row for row in history) else []),
        Chart([line for line in losses if line.points], "epoch", "loss"),
        Chart([curve(decider, "", "c")], "epoch", f"validation {label(decider)}"),
    ]


def _data(counts: Json, rows: Json, name: str) -> Iterator[Mark]:
    """Warn of what flatters the scores, count the rows of each split and the quarantined ones, link the data page."""
    for leak in counts.get("leaks") or ():
        if leak["grave"]:
            yield Text(f"Beware: {leak['text']}")
    yield Table(["split", "rows"], [[split, rows[split]] for split in ("train", "validation", "test")])
    quarantined = counts.get("quarantined")
    if quarantined is None:
        yield Text("No counts of quarantined rows are recorded.")
        return
    reasons = list(quarantined.get("reasons", {}).items()) if isinstance(quarantined, Mapping) else []
    yield Table(["quarantined because", "rows"], reasons) if reasons else Text("No row was quarantined.")
    for text in counts.get("notes", []):
        yield Text(text, note=True)
    if "leaks" in counts:
        yield Link("The page about the data", DATA_PAGE.format(name=name))


def _model(card: Json) -> Values:
    """List what is needed to make the model again."""
    made = ("architecture", "parameters", "options", "recipe", "calibration", "trial", "seed")
    keys = (*made, "data_version", "code_version")
    shown = {key.replace("_", " "): plain(card.get(key)) for key in keys if card.get(key) not in (None, "", {})}
    return Values(shown)
