"""Runs the cases named, or all: `python -m benchmarks.reference [CASE …]`; writes results.json and REFERENCE.md.

Each seed is a process of its own with one thread; as many, of one case or of several, run side by side as there are
cores for this one (`taskset` says which). Results of cases that are not run again stay, with the commit that they were
measured at. Cost is told in core-seconds, the time that the processor worked for a seed, which other work on the
machine disturbs little; seconds by the clock stand beside it. With SMALL=1 each case runs its first seed, whatever it
reaches, and nothing is written.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import SMALL, reference
from benchmarks.__main__ import machine
from benchmarks.tables.sources import SOURCES
from evergreen.core.files import write_json

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.json", HERE.parent / "REFERENCE.md"
ROUNDING = 1e-9  # of a mean: 1791 of 1800 right are 0.995
NO_CASE = ("__main__", "protocol")


def cases() -> list[str]:
    """All cases: the files of this folder."""
    return sorted(one.name for one in pkgutil.iter_modules(reference.__path__) if one.name not in NO_CASE)


def main(names: list[str]) -> int:
    """0 where every bar of the cases run is reached."""
    if names[:1] == ["--seed"]:
        return one(names[2], int(names[1]))
    if unknown := set(names) - set(cases()):
        print(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(cases())}", file=sys.stderr)
        return 2
    missed = []
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        waiting = {
            name: [pool.submit(measure, name, seed) for seed in said(name).SEEDS[: 1 if SMALL else None]]
            for name in names or cases()
        }
        for name, runs in waiting.items():
            result = summed([run.result() for run in runs])
            found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            found = {known: one for known, one in found.items() if known in cases()} | {name: result}
            if not SMALL:
                write_json(RESULTS, found)
                PAGE.write_text(page(found))
            print("\n".join(lines(name, found[name])), flush=True)
            missed += [name] if "no" in (row[-1] for row in rows(name, found[name])) else []
    finally:
        pool.shutdown(cancel_futures=True)
    return 1 if missed and not SMALL else 0


def said(name: str) -> Any:
    """The case's file: its bars, seeds and architecture, and how it runs."""
    return importlib.import_module(f"benchmarks.reference.{name}")


def summed(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The means over the seeds of each metric and of the seconds by clock and processor, and the greatest memory."""
    values = {metric: [run["metrics"][metric] for run in runs] for metric in runs[0]["metrics"]}
    return {
        "reached": {metric: statistics.fmean(all_seeds) for metric, all_seeds in values.items()},
        "deviation": {metric: statistics.stdev(v) if len(v) > 1 else 0.0 for metric, v in values.items()},
        "seeds": len(runs),
        "seconds": statistics.fmean(run["seconds"] for run in runs),
        "core_seconds": statistics.fmean(run["core_seconds"] for run in runs),
        "megabytes": max(run["megabytes"] for run in runs),
        "commit": commit(),
    }


def measure(name: str, seed: int) -> dict[str, Any]:
    """One seed of a case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reference", "--seed", str(seed), name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(name: str, seed: int) -> int:
    """Run one seed here and print a line of JSON: metrics, seconds, and what the process has used since it began.

    That is core-seconds, user's and system's, and the peak of its memory.
    """
    begun = time.monotonic()
    metrics = said(name).run(seed)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"core_seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024}
    print(json.dumps({"metrics": metrics, "seconds": time.monotonic() - begun, **cost}))
    return 0


def commit() -> str:
    """The commit of the code that is run, with a plus where other files than those written here were changed since."""
    own = [f":(exclude,top){path.relative_to(HERE.parents[1]).as_posix()}" for path in (RESULTS, PAGE)]
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ":(top)", *own], cwd=HERE, check=False).returncode
    named = ["git", "rev-parse", "--short=10", "HEAD"]
    head = subprocess.run(named, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    return head + "+" * (changed != 0)


def rows(name: str, result: dict[str, Any]) -> list[list[str]]:
    """One row of the table per bar; the last column says whether it is reached."""
    found = []
    for metric, (sign, bar) in said(name).BARS.items():
        value, spread = result["reached"][metric], result["deviation"][metric]
        good = value >= bar - ROUNDING if sign == ">=" else value <= bar + ROUNDING
        shown = f"{value:.4g}" + (f" ± {spread:.2g}" if result["seeds"] > 1 else "")
        worked = f"{result['core_seconds']:.0f}" if "core_seconds" in result else "–"
        cost = [worked, f"{result['seconds']:.0f}", f"{result['megabytes']:.0f}"]
        architecture = said(name).ARCHITECTURE or "chosen by select"
        sign = {">=": "≥", "<=": "≤"}[sign]
        told = [f"{sign} {bar:g}", shown, str(result["seeds"]), *cost, architecture, "yes" if good else "no"]
        found.append([name, metric.replace("_", " "), *told])
    return found


def lines(name: str, result: dict[str, Any]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in rows(name, result)]


def page(found: dict[str, Any]) -> str:
    """REFERENCE.md: every bar with what was reached, then each case with its opponents on the same rows."""
    head = ["case", "metric", "bar", "reached", "seeds", "core-s a seed", "s a seed", "peak MB", "architecture", "yes"]
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, result in sorted(found.items()):
        table += lines(name, result)
    parts = [
        "# Reference scores",
        f"Written by `make reference` on: {machine()}.",
        cost(found),
        "Means ± standard deviations over seeds, on test rows that nothing was chosen by unless the case says so.",
        f"What all defaults together choose and reach on public tables ({', '.join(SOURCES)}): [TABLES.md](TABLES.md).",
        "\n".join(table),
    ]
    if missing := [name for name in cases() if name not in found]:
        parts.append(f"Cases that have not been run to their end: {', '.join(missing)}.")
    for name, result in sorted(found.items()):
        others = {metric: value for metric, value in result["reached"].items() if metric not in said(name).BARS}
        beside = "; ".join(f"{metric.replace('_', ' ')} {value:.4g}" for metric, value in others.items())
        about = f"**{name}** ({result['commit']}): {(said(name).__doc__ or '').strip().splitlines()[0]}"
        about += f" Beside it, on the same rows: {beside}." if beside else ""
        parts.append(" ".join(filter(None, (about, getattr(said(name), "SEEN", "")))))
    return "\n\n".join(parts) + "\n"


def cost(found: dict[str, Any]) -> str:
    """A paragraph: what all cases take, and for which of them only the clock was read."""
    known = {name: result for name, result in found.items() if "core_seconds" in result}
    minutes = sum(result["core_seconds"] * result["seeds"] for result in known.values()) / 60
    told = f"{minutes:.0f} core-minutes together: about {minutes / 2:.0f} minutes on two idle cores. "
    told += "Core-seconds are the processor's, those beside them the clock's."
    if clocked := sorted(found.keys() - known.keys()):
        rest = sum(found[name]["seconds"] * found[name]["seeds"] for name in clocked) / 60
        told += f" Without core-seconds yet, and so not in that sum: {', '.join(clocked)}; "
        told += f"by the clock their seeds took {rest:.0f} minutes, one after the other."
    return told


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
