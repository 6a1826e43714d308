"""The sections of the report that explain: what it was compared with, where it comes from, how it learned."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from evergreen.stages.drawing.markup import label, note, pairs, paragraph, plain, table
from evergreen.stages.drawing.pictures import Dot, Line, chart, dots, number_text
from evergreen.stages.validate.verdict import words

if TYPE_CHECKING:
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.validate.evidence import Evidence

Json = Mapping[str, Any]
DATA_PAGE = "../../../../data/store/{name}/described/report.html"  # from where a pipeline's report lies


def comparison(evidence: Evidence, metrics: Json) -> str:
    """The deciding metric as a picture, every metric as a table, the paired tests, and what they mean in a sentence."""
    directions = evidence.candidate.task.METRICS
    decider, names = next(iter(directions)), _names(evidence)
    found = metrics["test"][decider]
    rows = [Dot("this candidate", found["value"], found["low"], found["high"], "a")]
    rows += [Dot(text, metrics[role][decider]) for role, text in names.items()]
    order = "more is better" if directions[decider] == "max" else "less is better"
    head = ["", *(f"{label(name)} {'↑' if way == 'max' else '↓'}" for name, way in directions.items())]
    lines = [["this candidate", *(number_text(metrics["test"][name]["value"]) for name in directions)]]
    lines += [[text, *(number_text(metrics[role].get(name)) for name in directions)] for role, text in names.items()]
    tests = [[names[role], words(gap), gap["test"]] for role, gap in metrics["difference"].items()]
    drawn = dots(rows, x=f"{label(decider)} ({order})") + table(head, lines, best=0)
    return drawn + table(["compared with", "the candidate has", "test"], tests, prose=1) + _honest(evidence, metrics)


def _names(evidence: Evidence) -> dict[str, str]:
    named = {"baseline": "the baseline", "released": f"released {evidence.version}"}
    return {role: named.get(role, other.name) for role, other in evidence.opponents.items()}


def _honest(evidence: Evidence, metrics: Json) -> str:
    """Whether the network is worth more than the simple model, and why the released one is missing if it is."""
    said = ""
    if evidence.reference:
        gap, name = metrics["difference"]["reference"], evidence.reference.name
        sure = gap["p"] < 1 - metrics["confidence"]
        if sure and gap["value"] > 0:
            said = f"It beats the simple model ({name}) beyond doubt."
        elif sure:
            said = f"The simple model ({name}) beats it: prefer that one, or gather more data."
        else:
            said = f"Between it and the simple model ({name}) these rows show no difference beyond chance."
    if scratch := metrics["difference"].get("scratch"):
        said = f"{said} {_transferred(evidence.model.card, scratch, 1 - metrics['confidence'])}".strip()
    refused = (
        f"The released {evidence.version} cannot answer these rows: {evidence.refusal}." if evidence.refusal else ""
    )
    return "".join(paragraph(text) for text in (said, refused) if text)


def _transferred(card: Json, gap: Json, chance: float) -> str:
    """Whether the weights it began with were worth it."""
    frozen = ", its features frozen," if card["freeze"] == "features" else ""
    begun = f"Begun with {card['start']}{frozen} it is"
    if gap["p"] >= chance:
        return f"{begun} neither better nor worse, beyond chance, than the same network trained from scratch."
    if gap["value"] > 0:
        return f"{begun} better beyond doubt than the same network trained from scratch: the transfer helps."
    return f"{begun} worse beyond doubt than the same network trained from scratch: the transfer hurts, leave it out."


def slices(metrics: Json) -> str:
    """The deciding metric within each slice; nothing where no slices were asked for."""
    roles = {"baseline": "baseline", "reference": "simple model", "released": "released"}
    roles = {role: text for role, text in roles.items() if role in metrics["difference"]}
    lines = []
    for name, found in metrics["slices"].items():
        metric, score = next(iter(found["test"].items()))
        span = number_text(score["value"])
        span += "" if score["low"] is None else f" ({number_text(score['low'])} to {number_text(score['high'])})"
        lines.append([name, f"{found['rows']:,}", span, *(number_text(found[role][metric]) for role in roles)])
    return table(["slice", "rows", f"{label(next(iter(metrics['test'])))} of the candidate", *roles.values()], lines)


def architecture(card: Json, choice: Json) -> str:
    """The race between architectures."""
    board = choice.get("leaderboard", [])
    if not board:
        given = f"The architecture {card['architecture']} was given; no race between architectures is recorded"
        return paragraph(f"{choice.get('why', given)}.")
    rows, lines, metric = [], [], label(choice["metric"])
    for entry in board:
        score, spread = entry.get("score"), entry.get("standard_error") or 0.0
        chosen = entry["architecture"] == choice["architecture"]
        if score is not None:
            rows.append(Dot(entry["architecture"], score, score - spread, score + spread, "a" if chosen else "b"))
        shown = number_text(score) + (f" ± {number_text(spread)}" if spread else "")
        facts = (
            f"{entry['parameters']:,}" if entry.get("parameters") else "—",
            entry.get("epochs", "—"),
            number_text(entry.get("seconds")),
        )
        lines.append([entry["architecture"] + (" (chosen)" if chosen else ""), shown, *facts])
    best = next((number for number, line in enumerate(lines) if line[0].endswith("(chosen)")), None)
    head = ["architecture", f"validation {metric}", "parameters", "epochs", "seconds"]
    drawn = dots(rows, x=f"{metric} on validation rows, ± one standard error; blue is the one chosen")
    if folds := choice.get("folds"):
        drawn += paragraph(
            f"Finalists were scored over {folds} folds of the training and the validation rows, each row by a network "
            "that had not seen it. No test row is in a fold."
        )
    return (
        paragraph(f"{choice['architecture']} was chosen: {choice.get('why', '')}.")
        + drawn
        + table(head, lines, best=best)
    )


def options(search: Json) -> str:
    """The search over the architecture's options."""
    trials = search.get("trials", [])
    if not trials:
        return paragraph(search.get("why", "No search is recorded: the architecture's own defaults were used."))
    metric = label(search["metric"])
    points = [(float(trial["number"]), float(trial["score"])) for trial in trials if trial.get("score") is not None]
    names = sorted({name for trial in trials for name in trial["options"]})
    lines = [
        [
            trial["number"],
            number_text(trial.get("score")),
            *(plain(trial["options"].get(name)) for name in names),
            trial.get("epochs", "—"),
            trial.get("state", ""),
        ]
        for trial in trials
    ]
    full = table(["trial", metric, *map(label, names), "epochs", "state"], lines)
    chosen = f"Chosen: {plain(search['options'])}." if search.get("options") else "Chosen: the defaults."
    drawn = chart([Line("", points, "a", dots=True)], x="trial", y=f"validation {metric}", height=220)
    listed = f"<details><summary>All {len(trials)} trials</summary>{full}</details>"
    return paragraph(search.get("why", "")) + paragraph(chosen) + drawn + listed


def learning(evidence: Evidence) -> str:
    """Losses and the deciding metric by epoch."""
    history = evidence.model.card.get("history") or []
    if not history:
        return paragraph("No learning curve is recorded with this model.")
    decider = next(iter(evidence.candidate.task.METRICS))

    def curve(key: str, text: str, style: str) -> Line:
        return Line(text, [(row["epoch"], row[key]) for row in history if row.get(key) is not None], style)

    losses = [
        curve("train_loss", "loss on training rows", "a"),
        curve("validation_loss", "loss on validation rows", "b"),
    ]
    scored = chart([curve(decider, "", "c")], x="epoch", y=f"validation {label(decider)}", height=220)
    refit = (
        "After everything was chosen by them, the validation rows were trained on as well: the curves here flatter. "
        "Intervals and thresholds are those of the same network trained without them."
    )
    said = paragraph(refit) if evidence.model.card.get("refit") else ""
    return said + chart([line for line in losses if line.points], x="epoch", y="loss") + scored


def data(counts: Json, spec: FeatureSpec, name: str) -> str:
    """What was found that flatters scores, rows of each split, what was set aside and why, what a person should know;
    and the way from the report of pipeline `name` to the page about its data."""
    split = table(["split", "rows"], [[name, f"{spec.rows[name]:,}"] for name in ("train", "validation", "test")])
    quarantined = counts.get("quarantined")
    if quarantined is None:
        return split + paragraph("No counts of rows set aside are recorded.")
    reasons = quarantined.get("reasons", {}) if isinstance(quarantined, Mapping) else {}
    aside = table(["set aside because", "rows"], [[name, f"{rows:,}"] for name, rows in reasons.items()])
    grave = "".join(paragraph(f"Beware: {leak['text']}") for leak in counts.get("leaks") or () if leak["grave"])
    notes = "".join(note(text) for text in counts.get("notes", []))
    more = f'<p><a href="{escape(DATA_PAGE.format(name=name))}">All about the data</a></p>' if "leaks" in counts else ""
    return grave + split + (aside or paragraph("No row was set aside.")) + notes + more


def model(card: Json) -> str:
    """What is needed to make it again."""
    keys = ("architecture", "parameters", "options", "recipe", "trial", "seed", "data_version", "code_version")
    return pairs({key.replace("_", " "): card.get(key) for key in keys})
