"""Measures what is not measured yet: `python -m benchmarks.tables [--again] [--splits N] [seen | unseen | TABLE …]`.

Each row is a process of its own with one thread; as many side by side as there are cores for this one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.tables.sources import SOURCES, load
from evergreen.core.files import write_json

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.json", HERE.parent / "TABLES.md"
SPLITS = 5
BEHIND = 1.03  # of the best opponent's, that log-loss or RMSE may be at most
NAMES = {"line": "logistic or ridge", "forest": "random forest", "boosting": "histogram boosting"}
LESS_ROWS = "in part since it learns from four fifths of the rows and tests its candidate by the others"
Results = dict[str, dict[str, Any]]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables")
    parser.add_argument("tables", nargs="*", default=["seen", "unseen"], metavar="TABLE")
    parser.add_argument("--again", action="store_true", help="repeat what was measured")
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--one", nargs=2, metavar=("TABLE", "SPLIT"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return 0
    halves = {"seen": True, "unseen": False}
    wanted = [
        name
        for name, one in SOURCES.items()
        if {name, *(h for h in halves if halves[h] == one.is_seen)} & {*given.tables}
    ]
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {key: row for key, row in results.items() if row.get("rules") == rules()}  # others do not compare
    todo = [(name, split) for split in range(given.splits) for name in wanted]
    todo = [one for one in todo if given.again or f"{one[0]} {one[1]}" not in results]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in as_completed([pool.submit(_process, *one) for one in todo]):
            if row := done.result():
                results[f"{row['table']} {row['split']}"] = row
                write_json(RESULTS, results)
                PAGE.write_text(page(results))
                print(_line(row), flush=True)
    PAGE.write_text(page(results))
    return 0


def rules() -> dict[str, int]:
    """Return the versions of what chooses and trains: rows of other ones are measured anew."""
    from evergreen.stages.preprocess import stage as preprocess
    from evergreen.stages.select import stage as select
    from evergreen.stages.train import stage as train

    return {"preprocess": preprocess.VERSION, "select": select.VERSION, "train": train.VERSION}


def _process(name: str, split: int) -> dict[str, Any] | None:
    """Measure a row in a process of its own; None where it failed, which stderr tells."""
    command = [sys.executable, "-m", "benchmarks.tables", "--one", name, str(split)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def measure(name: str, split: int) -> dict[str, Any]:
    """Measure one table by one split: ours and the opponents', on the same test rows."""
    from sklearn.model_selection import train_test_split

    from benchmarks.reference.__main__ import commit
    from benchmarks.tables import policy
    from benchmarks.tables.opponents import opponents

    started, source, frame = time.monotonic(), SOURCES[name], load(name)
    classes = frame[source.target] if source.has_classes else None
    train, test = train_test_split(frame, test_size=0.25, random_state=split, stratify=classes)
    with tempfile.TemporaryDirectory() as folder:
        ours = policy.run(train, test, source.target, Path(folder))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"core_seconds": round(used.ru_utime + used.ru_stime, 1), "seconds": round(time.monotonic() - started, 1)}
    beside = opponents(train, test, source.target, source.has_classes)
    facts = {"table": name, "split": split, "rows": len(train), "rules": rules(), "commit": commit()}
    return {**facts, **ours, **cost, "opponents": beside}


def deciding(row: dict[str, Any]) -> str:
    """The score that the bar is about."""
    return "log_loss" if "log_loss" in next(iter(row["opponents"].values())) else "rmse"


def _line(row: dict[str, Any]) -> str:
    key = deciding(row)
    beside = " ".join(f"{name} {scores[key]:.4g}" for name, scores in row["opponents"].items())
    ours = f"{row['table']} {row['split']}: {row['architecture']} {key} {row['scores'][key]:.4g}"
    return f"{ours} | {beside} | {row['core_seconds']:.0f} s"


def page(results: Results) -> str:
    """TABLES.md: a line per table, means over its splits, and what all together say."""
    head = [
        "table",
        "rows",
        "about",
        "splits",
        "score",
        "Evergreen",
        *NAMES.values(),
        "÷ best",
        "rank",
        "chosen",
        "core-s",
        "≤ 3% behind",
    ]
    parts = ["# Public tables", ABOUT]
    for is_seen, title in (
        (True, "Seen: the rules were made with these"),
        (False, "Unseen until the rules were settled"),
    ):
        table, ranks, within = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)], [], []
        behind = []
        for name, source in SOURCES.items():
            rows = [row for row in results.values() if row["table"] == name and source.is_seen == is_seen]
            if rows:
                cells, rank, ratio = _cells(name, rows)
                table.append("| " + " | ".join(cells) + " |")
                ranks.append(rank)
                within.append(ratio <= BEHIND)
                if ratio > BEHIND:
                    behind.append(f"**{name}** is {ratio - 1:.1%} behind: {source.behind or LESS_ROWS}.")
        if ranks:
            means = [statistics.fmean(column) for column in zip(*ranks, strict=True)]
            told = ", ".join(
                f"{name} {mean:.2f}" for name, mean in zip(["Evergreen", *NAMES.values()], means, strict=True)
            )
            parts += [f"## {title}", "\n".join(table), f"{sum(within)} of {len(within)} within 3%. Mean rank: {told}."]
            parts += behind
    if left := [f"{name} ({n} of {SPLITS})" for name in SOURCES if (n := _splits(results, name)) < SPLITS]:
        parts.append(f"Not measured on all splits yet: {', '.join(left)}.")
    parts.append(f"Measured at {', '.join(sorted({row['commit'] for row in results.values()}))}.")
    return "\n\n".join(parts) + "\n"


def _splits(results: Results, name: str) -> int:
    return sum(row["table"] == name for row in results.values())


ABOUT = """Written by `python -m benchmarks.tables` (a part of `make reference`; a run that was ended goes on).
A quarter of the rows is tested; from the others `evergreen new` makes a pipeline; each stage up to train follows it,
nothing set by hand. Opponents are scikit-learn's defaults on the same rows. Lower is better; the score is the mean over
splits, the rank the mean of the ranks within each split, 1 is best. The tables are scikit-learn's, and CSVs bundled by
pydataset 0.2.0."""


def _cells(name: str, rows: list[dict[str, Any]]) -> tuple[list[str], list[float], float]:
    """Return a line of the table, the mean ranks, ours first, and our mean score ÷ the best opponent's."""
    key = deciding(rows[0])
    scores = [[row["scores"][key], *(row["opponents"][one][key] for one in NAMES)] for row in rows]
    ranks = [
        statistics.fmean(1 + sum(other < row[n] for other in row) for row in scores) for n in range(len(scores[0]))
    ]
    means = [statistics.fmean(column) for column in zip(*scores, strict=True)]
    ratio = means[0] / min(means[1:])
    chosen = [row["architecture"] for row in rows]
    told = ", ".join(f"{one} {chosen.count(one)}" for one in sorted(set(chosen), key=chosen.count, reverse=True))
    cost = statistics.fmean(row["core_seconds"] for row in rows)
    source = SOURCES[name]
    about = [name, f"{rows[0]['rows']:,}", source.about, str(len(rows)), key.replace("_", "-").replace("rmse", "RMSE")]
    values = [f"{mean:.4g}" for mean in means]
    return (
        [*about, *values, f"{ratio:.3f}", f"{ranks[0]:.1f}", told, f"{cost:.0f}", "yes" if ratio <= BEHIND else "no"],
        ranks,
        ratio,
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
