"""Draw the page about what a released version is asked and answers: what moved, and how good the answers are."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from evergreen.core.durations import DAY
from evergreen.core.marks import Chart, Items, Line, Mark, Section, StyledText, Table, Text
from evergreen.pages.layout import render
from evergreen.pages.wording import label, number_text, percent

Json = Mapping[str, Any]
FOOTER = "Drawn from monitor.json beside it, which `evergreen monitor` brings up to date."
MAX_LINES = 2  # columns that have a curve of their own
STYLES = "abc"


def page(name: str, findings: Json) -> str:
    """Return the page of pipeline `name`; `findings` is what monitor.json holds."""
    windows, latest = findings["windows"], findings["latest"]
    size = f"{len(windows):,} windows of {findings.get('window', 0):,} rows" if windows else "no window yet"
    return render(
        f"{name}: what it is asked and answers",
        lead=StyledText([(f"{size}; ", ""), (_unfinished(findings), "soft")]),
        verdict=_verdict(latest),
        cards=[*_cards(windows, latest), *_errors(findings)],
        sections=[
            Section("What moved", _moved(latest, findings)),
            Section("How far over time", _distances(windows)),
            Section("Estimated and true score", _scores(windows, latest)),
            Section("Slices of the newest window", _slices(latest)),
            Section("Requests by version", _versions(windows)),
        ],
        footer=FOOTER.replace("`", ""),
    )


def _unfinished(findings: Json) -> str:
    waiting = ", ".join(f"{rows:,} rows of {version}" for version, rows in findings.get("unfinished", {}).items())
    return f"{waiting} fill no window yet" if waiting else "every row is in one"


def _verdict(latest: Json | None) -> tuple[str, str, str]:
    if latest is None:
        return "wait", "Nothing to say yet", "No window is full."
    if latest["rule"]:
        return "keep", "The labels contradict the estimate", latest["rule"]
    if latest["unsure"]:
        return "keep", "The estimated score is a guess", f"It is {latest['unsure']}."
    if latest["slices_moved"] and not latest["moved"]:
        return "keep", "Some answers are worse than before", latest["slices_moved"][0]
    if not latest["moved"]:
        return "release", "Nothing moved", "The newest window looks like the rows that the model was made from."
    n = latest["n_moved"]
    return "keep", f"{n} column{'s' * (n > 1)} moved", latest["moved"][0]


def _cards(windows: Sequence[Json], latest: Json | None) -> list[tuple[str, str, list[str]]]:
    if latest is None:
        return []
    metric, cards = label(latest["metric"]), []
    if one := latest["estimated"]:
        span = f"{number_text(one['low'])} to {number_text(one['high'])}"
        notes = ["not to be trusted"] if latest["unsure"] else [span]
        cards.append((f"{metric}, estimated", number_text(one["mean"]), notes))
    if latest["metric"]:
        true = "—" if latest["true"] is None else number_text(latest["true"])
        until = [f"until {latest['true_until'][:16].replace('T', ' ')}"] if latest["true_until"] else []
        cards.append((f"{metric}, true", true, [f"{latest['labels']:,} labels", *until]))
    if latest["drift"] is not None:
        cards.append(("farthest column", number_text(latest["drift"]), ["0 is alike, 1 is apart"]))
    ms = windows[-1]["latency_ms"]
    return [*cards, ("latency, 95% below", f"{number_text(ms['p95'])} ms", [f"half below {number_text(ms['p50'])} ms"])]


def _errors(findings: Json) -> list[tuple[str, str, list[str]]]:
    """Return how the requests between the last two looks ended, where the endpoint told it."""
    if "statuses" not in findings:
        return []
    newest = findings["statuses"]["newest"]
    share = newest["failed"] / max(1, sum(newest.values()))
    more = [f"{newest['answered']:,} answered", f"{newest['refused']:,} refused"]
    return [("requests that failed", percent(share), [", ".join(more)])]


def _moved(latest: Json | None, findings: Json) -> list[Mark]:
    problems = [Text(f"{version} is compared with nothing: {one['problem']}", note=True)
                for version, one in findings["versions"].items() if one["problem"]]  # fmt: skip
    moved = [*latest["slices_moved"], *latest["moved"]] if latest else []
    return [Items([[Text(text)] for text in moved]), *problems] if moved else [Text("Nothing."), *problems]


def _distances(windows: Sequence[Json]) -> list[Mark]:
    """Return a curve of the farthest column of each window, and of those that moved in most of them."""
    at, axis = _places(windows)
    often = Counter(one["column"] for window in windows for one in window["columns"] if one["matters"])
    far = [max((one["distance"] for one in window["columns"]), default=None) for window in windows]
    lines = [Line("the farthest column", _points(at, far), "faint")]
    for style, (name, _) in zip(STYLES, often.most_common(MAX_LINES), strict=False):
        values = [next((c["distance"] for c in window["columns"] if c["column"] == name), None) for window in windows]
        lines.append(Line(name, _points(at, values), style))
    dots = [(x, y) for x, y, window in zip(at, far, windows, strict=True) if window["moved"] and y is not None]
    lines.append(Line("a window in which something moved", dots, "c", dots=True))
    return [Chart([line for line in lines if line.points], axis, "distance")]


def _scores(windows: Sequence[Json], latest: Json | None) -> list[Mark]:
    """Return the estimated score with its interval, and the true one where labels came."""
    if latest is None or not latest["metric"]:
        return []
    at, axis = _places(windows)
    squared = latest["goal"] == "min"  # monitor.json holds means of squared errors
    root = (lambda value: value**0.5) if squared else float
    sure = [(x, {name: root(max(v, 0.0)) for name, v in window["estimate"].items()})
            for x, window in zip(at, windows, strict=True) if window["estimate"]]  # fmt: skip
    truths = [(x, window["truth"]) for x, window in zip(at, windows, strict=True) if window["truth"]["labels"]]
    band = [(x, one["high"]) for x, one in sure] + [(x, one["low"]) for x, one in reversed(sure)]
    lines = [
        Line(f"where it lies with {latest['confidence']:.0%} confidence", band, "band"),
        Line("estimated", [(x, one["mean"]) for x, one in sure], "a"),
        Line("true, by the labels that came", [(x, root(t["sum"] / t["labels"])) for x, t in truths], "b", dots=True),
    ]
    lines = [line for line in lines if line.points]
    doubt = [Text(f"The newest estimate is {latest['unsure']}.")] if latest["unsure"] else []
    notes = [*doubt, Text(latest["assumes"], note=True)]
    return [*notes, *([Chart(lines, axis, label(latest["metric"]))] if lines else [])]


def _slices(latest: Json | None) -> list[Mark]:
    """Return the scores of rows that have something in common, the worst first; nothing where there are no slices."""
    if not latest or not latest["slices"]:
        return []
    sign = 1 if latest["goal"] == "min" else -1

    def loss(facts: Json) -> float:
        known = facts["true"] if facts["true"] is not None else (facts["estimated"] or {"mean": -sign * 1e300})["mean"]
        return float(sign * known)

    rows = []
    for name, facts in sorted(latest["slices"].items(), key=lambda one: -loss(one[1])):
        one, true = facts["estimated"], facts["true"]
        span = f"{number_text(one['mean'])} ({number_text(one['low'])} to {number_text(one['high'])})" if one else "—"
        rows.append([name, facts["rows"], span, "—" if true is None else number_text(true), facts["labels"]])
    return [Table(["where", "rows", f"{label(latest['metric'])}, estimated", "true", "labels"], rows)]


def _versions(windows: Sequence[Json]) -> list[Mark]:
    rows: dict[str, list[Any]] = {}
    for window in windows:
        row = rows.setdefault(window["version"], [window["version"], 0, window["first"][:10], "", 0.0, 0.0, 0.0])
        row[1] += window["rows"]
        row[3:] = [window["last"][:10], *window["latency_ms"].values()]
    at, axis = _places(windows)
    lines, counts = [], defaultdict[str, float](float)
    points: dict[str, list[tuple[float, float]]] = {}
    for x, window in zip(at, windows, strict=True):
        counts[window["version"]] += window["rows"] / 1000
        points.setdefault(window["version"], []).append((x, counts[window["version"]]))
    lines = [Line(name, some, STYLES[n % 3]) for n, (name, some) in enumerate(points.items())]
    head = ["version", "rows", "from", "until", "median, ms", "95%, ms", "99%, ms"]
    return [Table(head, list(rows.values())), *([Chart(lines, axis, "thousand rows")] if lines else [])]


def _places(windows: Sequence[Json]) -> tuple[list[float], str]:
    """Return where each window lies on the axis of time, and the axis's name."""
    if not windows:
        return [], ""
    times = [datetime.fromisoformat(window["last"]) for window in windows]
    days = [(time - min(times)).total_seconds() / DAY for time in times]
    if max(days) < 2:
        return [day * 24 for day in days], f"hours since {min(times):%Y-%m-%d %H:%M}"
    return days, f"days since {min(times):%Y-%m-%d}"


def _points(places: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(places, values, strict=True) if y is not None]
