"""Draw how a search chose options: the trials, which options mattered, each option alone, and all together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.core.marks import Bars, Chart, Fold, Line, Mark, ParallelLines, Table, Text
from evergreen.pages.wording import label, number_text, plain

Json = Mapping[str, Any]
MAGNITUDES = 30.0  # times the smallest value, above which an axis shows powers of ten
BEST = 3  # lines that are set off


def draw_search(search: Json) -> list[Mark]:
    """Draw the search over the architecture's options, or say why there was none."""
    trials = search.get("trials", [])
    if not trials:
        return [Text(search.get("why", "No search is recorded: the architecture's own defaults were used."))]
    metric = label(search["metric"])
    points = [(float(trial["number"]), float(trial["score"])) for trial in trials if trial.get("score") is not None]
    names = sorted({name for trial in trials for name in trial["options"]})
    rows = [
        [
            str(trial["number"]),
            number_text(trial.get("score")),
            *(plain(trial["options"].get(name)) for name in names),
            trial.get("epochs"),
            trial.get("state", ""),
        ]
        for trial in trials
    ]
    marks: list[Mark] = [
        Text(search.get("why", "")),
        Text(f"Chosen: {plain(search['options'])}." if search.get("options") else "Chosen: the defaults."),
        Chart([Line("", points, dots=True)], "trial", f"validation {metric}"),
    ]
    if front := search.get("front"):
        small = " and ".join(map(label, search["objective"]))
        marks.append(Text(f"None beats these trials in score and {small} together: {', '.join(map(str, front))}."))
    scored = [trial for trial in trials if trial.get("score") is not None]
    importance = search.get("importance", {})
    if importance:
        words = "how much each option mattered (PED-ANOVA)"
        marks.append(Text(f"Below: {words}, then each trial as a line; blue are the best."))
        marks.append(Bars({label(name): [share] for name, share in importance.items()}, words))
    if len(scored) > 1 and names:
        order = [*importance, *(name for name in names if name not in importance)]
        marks.append(_parallel(search, scored, order, metric))
        slices = [_slice(scored, name, metric) for name in order]
        marks.append(Fold("Each option alone", slices))
    table = Table(["trial", metric, *map(label, names), "epochs", "state"], rows)
    return [*marks, Fold(f"All {len(trials)} trials", [table])]


def _parallel(search: Json, scored: Sequence[Json], names: Sequence[str], metric: str) -> Mark:
    columns = [_scale([trial["options"].get(name) for trial in scored]) for name in names]
    scores = _scale([trial["score"] for trial in scored], magnitudes=False)
    sign = 1 if search.get("direction") == "min" else -1
    best = sorted(range(len(scored)), key=lambda place: sign * scored[place]["score"])[:BEST]
    axes = [*columns, scores]
    return ParallelLines(
        names=[*map(label, names), metric],
        lines=[[axis[0][place] for axis in axes] for place in range(len(scored))],
        low=[axis[1] for axis in axes],
        high=[axis[2] for axis in axes],
        best=best,
        title="each trial's options and score",
    )


def _slice(scored: Sequence[Json], name: str, metric: str) -> Mark:
    """Draw scores over one option: its value, the power of ten, or the place of a word in the axis' name."""
    values, axis = [trial["options"].get(name) for trial in scored], label(name)
    if not all(map(_is_number, values)):
        words = sorted({plain(value) for value in values})
        axis += ": " + ", ".join(f"{place} {word}" for place, word in enumerate(words))
        values = [words.index(plain(value)) for value in values]
    elif _has_magnitudes(values):
        axis, values = f"{axis}, power of ten", [math.log10(value) for value in values]
    points = [(float(value), float(trial["score"])) for value, trial in zip(values, scored, strict=True)]
    return Chart([Line("", points, dots=True)], axis, f"validation {metric}")


def _scale(values: Sequence[Any], *, magnitudes: bool = True) -> tuple[list[float], str, str]:
    """Return values on an axis from 0 to 1, and what stands at its ends."""
    if not all(map(_is_number, values)):
        words = sorted({plain(value) for value in values})
        ends = (words[0], words[-1]) if len(words) > 1 else (words[0], "")
        return [words.index(plain(value)) / max(1, len(words) - 1) for value in values], *ends
    ends = plain(min(values)), plain(max(values))
    if magnitudes and _has_magnitudes(values):
        values = [math.log10(value) for value in values]
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values], *ends


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _has_magnitudes(values: Sequence[Any]) -> bool:
    return bool(min(values) > 0 and max(values) > MAGNITUDES * min(values))
