"""Draw the page about runs of the past: how each version would have done on what came next."""

from collections.abc import Mapping, Sequence
from typing import Any

from evergreen.core.marks import Chart, Line, Mark, Section, StyledText, Table, Text
from evergreen.pages.layout import render
from evergreen.pages.wording import label, number_text

Json = Mapping[str, Any]
FOOTER = "Drawn from the result.json of each moment beside it, which evergreen backfill writes."
MAX_COLUMNS = 12  # versions that the table shows: the oldest, and the newest


def page(name: str, results: Sequence[Json], policies: Sequence[Json]) -> str:
    """Return the page of pipeline `name`; `results` are the moments in order, `policies` what was simulated of them."""
    usable = [one for one in results if not one["problem"]]
    problems = [Text(f"{one['moment']}: {one['problem']}", note=True) for one in results if one["problem"]]
    metric = label(usable[0]["metric"]) if usable else ""
    return render(
        f"{name}: as if it had run then",
        lead=StyledText([(f"{len(usable):,} runs of the past, each judged by the rows that came next", "")]),
        verdict=_verdict(usable, policies),
        cards=[(one["policy"], number_text(one["score"]), [_cost(one)]) for one in policies],
        sections=[
            Section("When to train anew", _policies(policies)),
            Section(f"{metric} on what came next", [*_lines(usable, metric), *problems]),
            Section("Each version over time", _table(usable)),
            Section("What had moved by then", _moved(usable)),
        ],
        footer=FOOTER,
    )


def _verdict(usable: Sequence[Json], policies: Sequence[Json]) -> tuple[str, str, str]:
    if not policies:
        return "wait", "Nothing to say yet", "No run of the past came to its end."
    sign = 1 if usable[0]["goal"] == "max" else -1
    best = max(policies, key=lambda one: (sign * round(one["score"], 4), -one["core_seconds"]))
    never = policies[0]
    why = f"{label(best['metric'])} {number_text(best['score'])} at {_cost(best)}; "
    return "release", f"Best: {best['policy']}", why + f"never: {number_text(never['score'])} at {_cost(never)}."


def _cost(policy: Json) -> str:
    times = policy["trainings"]
    return f"{policy['core_seconds']:,.0f} core-seconds in {times:,} training{'s' * (times != 1)}"


def _policies(policies: Sequence[Json]) -> list[Mark]:
    head = ["policy", "score", "core-seconds of training", "trainings"]
    rows = [[one["policy"], one["score"], one["core_seconds"], one["trainings"]] for one in policies]
    return [Table(head, rows), Text("The score is the mean over all rows that came.", note=True)] if rows else []


def _lines(usable: Sequence[Json], metric: str) -> list[Mark]:
    """Return the first version, the one of the moment before, and the newest, over the moments."""
    if len(usable) < 2:
        return []
    first = usable[0]["moment"]
    kept = [(place, one["scores"].get(first)) for place, one in enumerate(usable)]
    newest = [(place, one["scores"][one["moment"]]) for place, one in enumerate(usable)]
    lines = [
        Line("trained at each moment", newest, "a"),
        Line(f"never again after {first}", [point for point in kept if point[1] is not None], "b"),  # type: ignore[misc]
    ]
    return [Chart(lines, f"moments since {first}", metric)]


def _table(usable: Sequence[Json]) -> list[Mark]:
    versions = [one["moment"] for one in usable]
    shown = versions if len(versions) <= MAX_COLUMNS else [versions[0], *versions[1 - MAX_COLUMNS :]]
    head = ["rows from", "until", "rows", "architecture", "seconds", *(f"of {version}" for version in shown)]
    rows = [
        [one["moment"], one["until"], one["rows"], one["architecture"], one["core_seconds"]]
        + [one["scores"].get(version, "") for version in shown]
        for one in usable
    ]
    return [Table(head, rows)] if rows else []


def _moved(usable: Sequence[Json]) -> list[Mark]:
    return [
        Text(f"{one['moment']}: " + "; ".join(one["moved"][one["moment"]]))
        for one in usable
        if one["moved"][one["moment"]]
    ]
