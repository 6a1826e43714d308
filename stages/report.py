"""The page a person reads before a release: self-contained HTML, the verdict first, then what it rests on.

Every section takes what was measured and gives a piece of HTML; one that has nothing to show says so in a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.mistakes import mistakes
from stages.pictures import Dot, Line, chart, dots, number_text
from stages.verdict import percent

if TYPE_CHECKING:
    from stages.scores import Evidence
    from stages.validate import Params

Json = Mapping[str, Any]
VERDICTS = {  # word → style, headline for the first version, headline against a released one, strokes of the icon
    "release": ("release", "Release it", "Release it", "M14 23l6 6 12-13"),
    "keep": ("keep", "Do not release it", "Keep the released version", "M16 16l14 14M30 16L16 30"),
    "more data": ("wait", "More test rows are needed to tell", "Keep the released version for now", "M23 13v11l7 4"),
}


def page(
    name: str, evidence: Evidence, metrics: Json, choice: Json | None, search: Json | None, data: Json, params: Params
) -> str:
    """The whole page. `choice` and `search` are what select and tune wrote, `data` the counts of the prepared rows."""
    card = evidence.model.card
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    sections = {
        "Compared on the same rows": comparison(evidence, metrics),
        "Why this architecture": architecture(card, choice),
        "How its options were found": options(search),
        "How it learned": learning(evidence),
        PICTURE.get(evidence.candidate.task.TARGET, PICTURE["number"]): picture(evidence),
        "Where it is wrong": mistakes(evidence),
        "Slices": slices(metrics),
        "Data": rows_of(data),
        "Model": model(card),
    }
    body = "".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in sections.items() if text)
    asks = f"{escape(card['task'])} of <b>{escape(evidence.model.spec.target_name)}</b>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: {metrics["verdict"]}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body><main>'
        f"<header><h1>{escape(name)}</h1><p>{asks} by the architecture <b>{escape(card['architecture'])}</b>, "
        f"judged on {evidence.rows:,} test rows it has never seen</p></header>"
        f"{verdict(metrics)}{numbers(evidence, metrics)}{body}<footer>Intervals hold the true value with "
        f"{params.confidence:.0%} confidence. The same data, code and settings make this very page again.</footer>"
        "</main></body></html>\n"
    )


def verdict(metrics: Json) -> str:
    style, first, later, strokes = VERDICTS[metrics["verdict"]]
    circle = '<circle cx="23" cy="23" r="20" fill="none" stroke="currentColor" stroke-width="3"/>'
    icon = f'<svg viewBox="0 0 46 46" aria-hidden="true">{circle}<path d="{strokes}" stroke="currentColor" style="stroke-width:4"/></svg>'
    head = later if "released" in metrics else first
    return f'<div class="verdict {style}">{icon}<div><strong>{head}</strong><p>{escape(metrics["why"])}</p></div></div>'


def numbers(evidence: Evidence, metrics: Json) -> str:
    """One card per metric: the value, its interval, the baseline's."""
    cards = []
    for name, found in metrics["test"].items():
        span = f"{number_text(found['low'])} to {number_text(found['high'])}"
        base = number_text(metrics["baseline"].get(name))
        cards.append(f"<div><span>{label(name)}</span><b>{number_text(found['value'])}</b>"
                     f"<small>{span}</small><small>baseline {base}</small></div>")
    return f'<div class="cards">{"".join(cards)}</div>'


def comparison(evidence: Evidence, metrics: Json) -> str:
    """The deciding metric as a picture, every metric as a table, the paired tests as sentences."""
    decider, direction = next(iter(evidence.candidate.task.METRICS.items()))
    names = role_names(evidence)
    found = metrics["test"][decider]
    rows = [Dot("this candidate", found["value"], found["low"], found["high"], "a")]
    rows += [Dot(text, metrics[role][decider], style="b") for role, text in names.items()]
    order = "more is better" if direction == "max" else "less is better"
    wanted = {metric: "↑" if way == "max" else "↓" for metric, way in evidence.candidate.task.METRICS.items()}
    head = ["", *(f"{label(metric)} {arrow}" for metric, arrow in wanted.items())]
    lines = [["this candidate", *(number_text(metrics["test"][metric]["value"]) for metric in wanted)]]
    lines += [[text, *(number_text(metrics[role].get(metric)) for metric in wanted)] for role, text in names.items()]
    tests = [[f"against {names[role]}", gap_text(gap), gap["test"]] for role, gap in metrics["difference"].items()]
    note = "" if not evidence.refusal else f"<p>The released {escape(evidence.version)} could not answer: {escape(evidence.refusal)}</p>"
    return dots(rows, x=f"{label(decider)} ({order})") + table(head, lines) + table(["paired", "the candidate has", "test"], tests, text=(1, 2)) + honest(metrics) + note


def honest(metrics: Json) -> str:
    """Says whether the network is worth more than the simple model."""
    if "reference" not in metrics:
        return ""
    gap, name = metrics["difference"]["reference"], escape(metrics["reference"]["model"])
    if gap["low"] > 0:
        return f"<p>The network beats the simple model ({name}) beyond doubt.</p>"
    if gap["high"] < 0:
        return f"<p>The simple model ({name}) beats the network: prefer it, or give the network more data.</p>"
    return f"<p>Against the simple model ({name}) the difference is within the noise of these rows.</p>"


def gap_text(gap: Json) -> str:
    what = "rows right" if gap["share_of"] == "rows" else "error"
    more = gap["value"] >= 0
    word = ("more" if more else "fewer") if what == "rows right" else ("less" if more else "more")
    chance = "p < 0.001" if gap["p"] < 0.001 else f"p = {gap['p']:.2g}"
    return f"{percent(abs(gap['value']))} {word} {what} ({percent(gap['low'])} to {percent(gap['high'])}, {chance})"


def architecture(card: Json, choice: Json | None) -> str:
    if not choice or not choice.get("leaderboard"):
        return f"<p><b>{escape(card['architecture'])}</b> was given; no race between architectures is recorded.</p>"
    board = choice["leaderboard"]
    rows, lines = [], []
    for entry in board:
        spread, score = entry.get("standard_error"), entry.get("score")
        if score is not None:
            ends = (score - spread, score + spread) if spread else (None, None)
            chosen = entry["architecture"] == choice["architecture"]
            rows.append(Dot(entry["architecture"], score, *ends, style="a" if chosen else "b"))
        shown = [number_text(score) + (f" ± {number_text(spread)}" if spread else "")]
        lines.append([entry["architecture"], *shown, f"{entry.get('parameters', 0):,}", entry.get("epochs", "—"), number_text(entry.get("seconds"))])
    head = ["architecture", f"validation {label(choice['metric'])}", "parameters", "epochs", "seconds"]
    best = next((n for n, entry in enumerate(board) if entry["architecture"] == choice["architecture"]), None)
    return f"<p>{escape(choice['why'])}</p>" + dots(rows, x=f"validation {label(choice['metric'])}, ± one standard error") + table(head, lines, best=best)


def options(search: Json | None) -> str:
    trials = [trial for trial in (search or {}).get("trials", []) if isinstance(trial.get("score"), (int, float))]
    if not search or not trials:
        return "<p>No search is recorded: the architecture's own defaults were used.</p>"
    points = [(float(trial["number"]), float(trial["score"])) for trial in trials]
    drawn = chart([Line("one trial", points, "a", dots=True)], x="trial", y=label(search["metric"]), height=220)
    chosen = ", ".join(f"{label(name)} {value:.4g}" if isinstance(value, float) else f"{label(name)} {value}" for name, value in search["options"].items())
    said = f"<p>{escape(search.get('why', ''))}</p><p>Chosen: {escape(chosen) or 'the defaults'}.</p>"
    names = sorted({name for trial in trials for name in trial["options"]})
    lines = [[trial["number"], number_text(trial["score"]), *(short(trial["options"].get(name)) for name in names), trial.get("epochs", "—"), trial.get("state", "")] for trial in trials]
    full = table(["trial", label(search["metric"]), *map(label, names), "epochs", "state"], lines)
    return f"{said}{drawn}<details><summary>All {len(trials)} trials</summary>{full}</details>"


def learning(evidence: Evidence) -> str:
    history = evidence.model.card.get("history") or []
    if not history:
        return "<p>No learning curve is recorded with this model.</p>"
    decider = next(iter(evidence.candidate.task.METRICS))

    def curve(key: str, text: str, style: str) -> Line:
        return Line(text, [(row["epoch"], row[key]) for row in history if row.get(key) is not None], style)

    losses = [curve("train_loss", "loss on training rows", "a"), curve("validation_loss", "loss on validation rows", "b")]
    scored = chart([curve(decider, "", "c")], x="epoch", y=f"validation {label(decider)}", height=220)
    return chart([line for line in losses if line.points], x="epoch", y="loss") + scored


PICTURE = {"category": "Which class is taken for which", "series": "What it said and what came", "number": "What it said and what was"}


def picture(evidence: Evidence) -> str:
    kind = evidence.candidate.task.TARGET
    if kind == "category":
        return confusion(evidence)
    if kind == "series":
        rows = forecast_rows(evidence)
        when = [float(row[0]) if isinstance(row[0], (int, float)) else float(number) for number, row in enumerate(rows)]
        lines = [Line("what came", [(t, row[1]) for t, row in zip(when, rows, strict=True)], "b"),
                 Line("what it said the step before", [(t, row[2]) for t, row in zip(when, rows, strict=True)], "a")]
        return chart(lines, x=evidence.model.spec.time or "time", y=evidence.model.spec.target_name, height=320)
    truth, said = evidence.truth(), [answer["prediction"] for answer in evidence.candidate.answers()]
    cloud = Line("one row each; the dashed line is a perfect answer", list(zip(truth, said, strict=True)), "a", dots=True)
    return chart([cloud], x=f"actual {evidence.model.spec.target_name}", y="said", height=420, diagonal=True)


def confusion(evidence: Evidence) -> str:
    """Rows are the actual class, columns the one it said; shades are shares of a row."""
    classes = [str(value) for value in evidence.candidate.task.classes]
    if len(classes) > 25:
        return f"<p>With {len(classes)} classes the table would not be readable; see plots/confusion.csv.</p>"
    counts = [[0] * len(classes) for _ in classes]
    said = [str(answer["prediction"]) for answer in evidence.candidate.answers()]
    for actual, guess in zip(map(str, evidence.truth()), said, strict=True):
        counts[classes.index(actual)][classes.index(guess)] += 1
    head = "<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in classes) + "</tr>"
    body = "".join(f"<tr><th>{escape(name)}</th>{_cells(row, number)}</tr>" for number, (name, row) in enumerate(zip(classes, counts, strict=True)))
    return f'<p class="soft">Rows: what it is. Columns: what the model said.</p><div class="scroll"><table class="matrix">{head}{body}</table></div>'


def _cells(row: Sequence[int], own: int) -> str:
    cells = []
    for column, count in enumerate(row):
        share = 100 * count / max(1, sum(row))
        kind = "right" if column == own else "wrong"
        cells.append('<td class="none">·</td>' if not count else f'<td class="{kind}" style="--much:{15 + 0.55 * share:.0f}%">{count}</td>')
    return "".join(cells)


def forecast_rows(evidence: Evidence) -> list[tuple[Any, float, float]]:
    """(time, actual, predicted) of each test row's first step ahead."""
    times = evidence.table["_time"].to_pylist() if "_time" in evidence.table.column_names else range(evidence.rows)
    said = [answer["prediction"][0] for answer in evidence.candidate.answers()]
    return [(time, actual[0], guess) for time, actual, guess in zip(times, evidence.truth(), said, strict=True)]


def slices(metrics: Json) -> str:
    lines = []
    for name, found in metrics["slices"].items():
        metric, value = next(iter(found["test"].items()))
        span = f"{number_text(value['value'])} ({number_text(value['low'])} to {number_text(value['high'])})"
        others = [number_text(found[role][metric]) if role in found else "—" for role in ("baseline", "reference", "released")]
        lines.append([name, f"{found['rows']:,}", span, *others])
    metric = label(next(iter(metrics["test"])))
    return table(["slice", "rows", f"{metric}, with its interval", "baseline", "simple model", "released"], lines) if lines else ""


def data_summary(ready: Path) -> Json:
    """Counts of the prepared rows, as preprocess wrote them; empty where there is no such file."""
    path = ready / "summary.json"
    found: Json = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def rows_of(data: Json) -> str:
    if not data:
        return "<p>No counts of the prepared rows are recorded.</p>"
    lines = [[key, escape_value(value)] for key, value in sorted(data.items())]
    return table(["", ""], lines, text=(1,))


def model(card: Json) -> str:
    shown = {"architecture": card["architecture"], "parameters": f"{card.get('parameters', 0):,}", "options": card.get("options"), "recipe": card.get("recipe"),
             "seed": card.get("seed"), "trial": card.get("trial"), "data version": card.get("data_version"), "code version": card.get("code_version")}
    rows = "".join(f"<dt>{name}</dt><dd>{escape_value(value)}</dd>" for name, value in shown.items() if value not in (None, {}, ""))
    return f"<dl>{rows}</dl>"


def role_names(evidence: Evidence) -> dict[str, str]:
    names = {"baseline": "the baseline", "reference": evidence.reference.name if evidence.reference else "", "released": f"the released {evidence.version}"}
    return {role: names[role] for role in evidence.opponents}


def label(name: str) -> str:
    return escape({"auc": "AUC", "r2": "R²", "mse": "MSE", "mae": "MAE", "rmse": "RMSE", "f1": "F1"}.get(name, name.replace("_", " ")))


def short(value: Any) -> str:
    return "—" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def escape_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key))}: {escape_value(item)}" for key, item in value.items()) or "none"
    return escape(short(value) if isinstance(value, float) else str(value))


def table(head: Sequence[str], lines: Iterable[Sequence[Any]], *, best: int | None = None, text: Sequence[int] = ()) -> str:
    """`head` and the cells are HTML already when they hold markup; plain values are escaped."""
    def cell(column: int, value: Any) -> str:
        return f'<td class="text">{value}</td>' if column in text else f"<td>{escape(str(value))}</td>"

    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr{' class=best' if number == best else ''}>{''.join(cell(c, v) for c, v in enumerate(line))}</tr>" for number, line in enumerate(lines))
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
