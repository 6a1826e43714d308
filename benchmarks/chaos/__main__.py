"""`make chaos`: runs every cell that has not passed yet and writes CHAOS.md after each; `--again` runs all anew."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.chaos.cells import COLUMNS, Cell, all_cells
from benchmarks.chaos.project import STAGES, ChaosProject
from benchmarks.chaos.run_cell import list_orphans, run_cell
from evergreen.core.files import read_json, write_json, write_text
from evergreen.core.paths import IMPORT_ROOT

OWN = hashlib.blake2b(os.fsencode(IMPORT_ROOT), digest_size=4).hexdigest()
FOLDER = Path(tempfile.gettempdir()) / f"evergreen-chaos-{OWN}"  # a project may not lie in another
RESULTS = Path(__file__).parents[1] / "CHAOS.md"
HEAD = """# What is killed, and what the next run makes of it

Written by `make chaos` on: {machine}.
{passed} of {count} cells passed, in {minutes:.0f} minutes, with seed {seed}.

Each cell begins with the finished project of a small pipeline in which one stage has to be done again (the last two: a
release that is not served yet). The run is struck at a random moment of that stage. It passes where the run ends in
words, and the next `evergreen run` ends with the same weights, bit for bit; no process is left that no record names; no
run counts as running in Prefect; nothing is stale to DVC; `git status` is clean (but for a `dvc.lock` that waits for a
release), and each tag is there once. The numbers are seconds of both runs.

{columns}

{table}
"""


def main() -> int:
    """Run the cells; return 1 where one does not pass."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--again", action="store_true", help="run also what has passed")
    parser.add_argument("--seed", type=int, default=0, help="another seed strikes at other moments")
    parser.add_argument("--only", default="", help="a part of the cell's name, such as 'train: GCS'")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    project, file = ChaosProject(FOLDER), FOLDER / "cells.json"
    results: dict[str, Any] = read_json(file) if file.exists() and not options.again else {}
    project.prepare()
    try:
        for cell in all_cells():
            if options.only in str(cell) and not results.get(str(cell), {}).get("passed"):
                start = time.monotonic()
                problems = run_cell(project, cell, options.seed)
                seconds = round(time.monotonic() - start, 1)
                results[str(cell)] = {"passed": not problems, "seconds": seconds, "problems": problems}
                write_json(file, results)
                write_text(RESULTS, format_results(results, options.seed))
                print(f"{cell}: {seconds:.0f} s {'; '.join(problems) or 'passed'}", file=sys.stderr, flush=True)
    finally:
        project.stop()
    left = list_orphans(project)
    print("\n".join(left), file=sys.stderr)
    return int(bool(left) or not all(results.get(str(cell), {}).get("passed") for cell in all_cells()))


def format_results(results: dict[str, Any], seed: int) -> str:
    """Format the table and what did not pass."""
    found = {cell: results.get(str(cell)) for cell in all_cells()}
    header = ["| stage | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    rows = [
        f"| {stage} | " + " | ".join(_format(found, Cell(stage, event)) for event in COLUMNS) + " |" for stage in STAGES
    ]
    text = HEAD.format(
        machine=machine(),
        passed=sum(bool(one and one["passed"]) for one in found.values()),
        count=len(found),
        minutes=sum(one["seconds"] for one in found.values() if one) / 60,
        seed=seed,
        columns="\n".join(f"- {event}: {what}" for event, what in COLUMNS.items()),
        table="\n".join(header + rows),
    )
    failed = [f"- {cell}: {'; '.join(one['problems'])}" for cell, one in found.items() if one and not one["passed"]]
    return text + ("\nDid not pass:\n\n" + "\n".join(failed) + "\n" if failed else "")


def _format(found: dict[Cell, Any], cell: Cell) -> str:
    if cell not in found:
        return "–"
    result = found[cell]
    return "not run" if result is None else f"{'✓' if result['passed'] else '✗'} {result['seconds']:.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
