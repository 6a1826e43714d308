"""`make year`: lives a year, 365 days and twelve retrainings, and writes what is left of it to YEAR.md.

Ended at any moment it goes on at the day where it was; `--again` begins anew, `--days 20` is a short story.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.chaos.__main__ import OWN
from benchmarks.chaos.project import NAME, YAML, ChaosProject
from benchmarks.chaos.run_cell import list_orphans
from benchmarks.year.days import Year
from benchmarks.year.engines import StoryError
from benchmarks.year.figures import MAX_GROWTH, find_growth, list_tags
from benchmarks.year.world import MOVES, World, count_moves
from evergreen.core.files import read_json, write_json, write_text
from evergreen.stages.engines import versions

N_DAYS = 365
FOLDER = Path(tempfile.gettempdir()) / f"evergreen-year-{OWN}"
RESULTS = Path(__file__).parents[1] / "YEAR.md"
NEVER = "0 0 1 1 *"  # while the story runs; its days are hurried
FIXED = {
    "architectures: [linear, mlp]": "architectures: [linear]",
    "trials: 2": "trials: 1",
    "epochs: 60": "epochs: 20",
}
SETTINGS = f"""monitor: {{schedule: "{NEVER}", window: 50}}
retrain: {{drift: true}}
deploy: {{engine: torch, log: {{days: 60}}}}
"""
HOUSEKEEPING = f'schedule: "{NEVER}"\ncache_days: 20\nruns_days: 10\nreleased_days: 20\nprefect_days: 60\n'
HEAD = """# A year of one pipeline, lived in {minutes:.0f} minutes

Written by `make year` on: {machine}.

{looks} days were asked about and looked at, with {labels:,} late labels. {moves} times the laboratory changed the unit
of its areas; the monitor of `evergreen watch` noticed, and {retrains} runs collected, trained and compared; {n_new} of
them released and served a version, the others could not tell theirs from the one in service. Meanwhile SIGKILL ended:
{strikes}.
A retraining is struck at a random moment of its first seconds; where it did not go on by itself it was asked for once
more, as a schedule does. Files, the request log and Prefect's record grow older as the story's days go by, and
housekeeping reads the story's clock.

{verdict}

| from the fourth month to the last | times as much | at most |
|---|---:|---:|
{levels}

{figures}

| day | version | died | asked again | seconds |
|---:|---|---|---:|---:|
{runs}
"""


def main() -> int:
    """Live the year; return 1 where it does not go on, or something is not as it should be after it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--days", type=int, default=N_DAYS)
    parser.add_argument("--again", action="store_true", help="begin anew")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = FOLDER if options.days == N_DAYS else Path(tempfile.mkdtemp(prefix="evergreen-year-"))
    if options.again:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    project, file, begun = ChaosProject(folder), folder / "year.json", time.monotonic()
    state = read_json(file) if file.exists() else begin(project)
    year = Year(project, state, lambda line: print(f"{time.monotonic() - begun:6.0f} s  {line}", flush=True))
    try:
        year.live(options.days)
        problems = [*state["problems"], *find_problems(project, year, is_whole=options.days == N_DAYS)]
    except StoryError as error:
        problems = [*state["problems"], str(error)]
    finally:
        year.engines.stop_watching()
        state["seconds"] += time.monotonic() - begun
        write_json(file, state)
        project.stop()
    problems += list_orphans(project)
    text = format_results(state, problems)
    print(text)
    if options.days == N_DAYS:
        write_text(RESULTS, text)
    if options.days != N_DAYS:
        shutil.rmtree(folder)
    return int(bool(problems))


def begin(project: ChaosProject) -> dict[str, Any]:
    """Make a project whose first version is served, and return the state of a story that begins."""
    yaml = YAML.replace("deploy: {engine: torch}\n", SETTINGS)
    for words, fixed in FIXED.items():
        yaml = yaml.replace(words, fixed)
    shutil.rmtree(project.root, ignore_errors=True)
    project.root.mkdir(parents=True)
    project.git("init", "-q")
    start = time.time()
    for words in (("init",), ("run", NAME)):
        if words[0] == "run":
            project.paths.pipeline.write_text(yaml)
            (project.root / "housekeeping.yaml").write_text(HOUSEKEEPING)
            (project.root / ".gitignore").open("a").write("rows\n")
            (project.root / "rows").mkdir()
            World(project, start).fill_source(0, 569)
            project.git("add", "-A")
            project.git("commit", "-q", "-m", "start")
        done = project.evergreen(*words, timeout_s=900)
        if done.returncode:
            raise SystemExit(f"evergreen {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    counts = {"day": 0, "looks": 0, "labels": 0, "events": 0, "seconds": 0.0}
    return {"start": start, **counts, "strikes": {}, "retrains": [], "figures": [], "problems": []}


def find_problems(project: ChaosProject, year: Year, *, is_whole: bool) -> list[str]:
    """Return what is not as it should be at the end."""
    state = year.state
    problems = [f"Prefect counts {name} as running" for name in year.engines.list_unfinished()]
    problems += [f"{name} grew to {ratio:.2f} times" for name, ratio in find_growth(state["figures"]).items()
                 if ratio > MAX_GROWTH[name]]  # fmt: skip
    if is_whole and len(state["retrains"]) < MOVES:
        problems.append(f"{len(state['retrains'])} retrainings for {MOVES} moves of the world")
    n_released = 1 + count_new(state)
    tags = {"versions": list_tags(project, rf"{NAME}@v[\d.]+"), "events": list_tags(project, rf"{NAME}#production#\d+")}
    expected = {"versions": n_released, "events": n_released + state["events"]}
    problems += [f"{len(found)} tags of {what}, not {expected[what]}" for what, found in tags.items()
                 if len(found) != expected[what]]  # fmt: skip
    if others := {*project.git("tag").split()} - {*tags["versions"], *tags["events"]}:
        problems.append(f"other tags: {sorted(others)}")
    n_commits = int(project.git("rev-list", "--count", "HEAD"))
    if n_commits != 1 + n_released:
        problems.append(f"{n_commits} commits, not one to start with and one a release of {n_released}")
    waits = any(
        not one.get("is_new", True) for one in state["retrains"][-1:]
    )  # dvc.lock is committed with the next release
    if (changed := project.git("status", "--porcelain").strip()) and not (waits and changed == "M dvc.lock"):
        problems.append(f"git status: {changed}")
    project.git("fsck", "--connectivity-only")
    shutil.rmtree(project.paths.released)
    for tag in tags["versions"]:
        version = tag.partition("@")[2]
        stored = versions.checkout(project.paths, version)
        with versions.checked_out_rows(project.paths, version) as rows:
            if not (stored / "model.json").is_file() or not any(rows.iterdir()):
                problems.append(f"{version} is not whole")
    done = project.evergreen("run", NAME, "--json")
    if done.returncode or (is_whole and json.loads(done.stdout)["ran"]):
        problems.append(f"the next run: {(done.stdout + done.stderr)[-500:]}")
    return problems


def count_new(state: dict[str, Any]) -> int:
    """Return how many retrainings released a version."""
    return sum(one.get("is_new", True) for one in state["retrains"])


def format_results(state: dict[str, Any], problems: list[str]) -> str:
    """Format the page."""
    figures, growth = state["figures"], find_growth(state["figures"])
    told = ", ".join(f"{name} {times} times" for name, times in sorted(state["strikes"].items()))
    return HEAD.format(
        minutes=state["seconds"] / 60,
        machine=machine(),
        looks=state["looks"],
        moves=count_moves(state["day"] - 1),
        labels=state["labels"],
        retrains=len(state["retrains"]),
        n_new=count_new(state),
        strikes=told or "nobody",
        verdict="Problems:\n\n" + "\n".join(f"- {one}" for one in problems)
        if problems
        else "Everything is as it should be.",
        levels="\n".join(f"| {name} | {ratio:.2f} | {MAX_GROWTH[name]} |" for name, ratio in growth.items()),
        figures="\n\n".join(_format_sizes(figures, part) for part in ("memory", "disk") if figures),
        runs="\n".join(
            f"| {one['day'] + 1} | {one['version']} | {one['struck'] or '–'} | {one['asked']} | {one['seconds']:.0f} |"
            for one in state["retrains"]
        ),
    )


def _format_sizes(figures: list[dict[str, Any]], part: str) -> str:
    """Format what was measured at the end of each month."""
    kinds = [*figures[-1][part]]
    rows = [["day", "`status`, s", *(f"{kind}, MB" for kind in kinds)]]
    for one in figures:
        sizes = (one[part].get(kind) for kind in kinds)
        cells = ["–" if size is None else f"{size:,.1f}" for size in sizes]
        rows.append([str(one["day"] + 1), f"{one['status']:.2f}", *cells])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---:" * len(rows[0]) + "|", *lines[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
