"""Time what a person waits for while nothing is to be done: importing, helping, a run with nothing stale, the status.

All in a clone of what is committed. `digits` runs once; then its results are copied under the names of all other
pipelines, so that the status is one of many pipelines that are up to date.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import SMALL, sized

ROOT = Path(__file__).parents[1]
REPEATS = sized(5, 1)
TINY = """task: classification
collect: {uri: "sklearn:digits"}
preprocess: {target: digit}
select: {architectures: [linear], folds: 0}
tune: {time_budget_s: 0}
train: {epochs: 2, train_on_validation: false}
release: ask
"""  # nothing is served: that would take most of the time
EVERGREEN = [sys.executable, "-m", "evergreen.cli.main"]
BARE = "python -c pass"
COMMANDS = {
    BARE: [sys.executable, "-c", "pass"],
    "python -c 'import evergreen'": [sys.executable, "-c", "import evergreen"],
    "evergreen --help": [*EVERGREEN, "--help"],
    "evergreen run digits, after others": [*EVERGREEN, "run", "digits"],
    "evergreen run digits, once more": [*EVERGREEN, "run", "digits"],
    "evergreen status, all pipelines": [*EVERGREEN, "status"],
    "evergreen stage report digits": [*EVERGREEN, "stage", "report", "digits"],
    "dvc repro, nothing stale": [sys.executable, "-m", "dvc", "repro", "--quiet", "report@digits"],
    "python -c 'import prefect'": [sys.executable, "-c", "import prefect"],
}


def measure(command: list[str], clone: Path) -> tuple[float, float]:
    """Return the wall-clock and the CPU seconds of one whole process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(clone)}  # what DVC starts is the clone's code, too
    done = subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def copy_results(clone: Path) -> int:
    """Give every other pipeline the settings, the results and the record of digits; return how many there are."""
    names = sorted(path.stem for path in (clone / "pipelines").glob("*.yaml"))
    lock = (clone / "dvc.lock").read_text()
    entries = lock.partition("stages:\n")[2]
    for name in names:
        if name != "digits":
            shutil.copy(clone / "pipelines" / "digits.yaml", clone / "pipelines" / f"{name}.yaml")
            for room in ("data", "models"):
                shutil.copytree(clone / room / "store" / "digits", clone / room / "store" / name)
            copied = entries.replace("@digits:", f"@{name}:").replace("/digits", f"/{name}")
            lock += copied.replace("stage collect digits", f"stage collect {name}").replace(" digits\n", f" {name}\n")
    (clone / "dvc.lock").write_text(lock)
    return len(names)


def main() -> None:
    """Bring digits up to date once, then time the commands in turn: A B C, A B C, …."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", "--no-tags", str(ROOT), str(clone)], check=True)  # no releases of others
        (clone / ".venv").symlink_to(sys.prefix)  # where the graph of this repository looks for `evergreen`
        if SMALL:
            for path in sorted((clone / "pipelines").glob("*.yaml"))[2:]:
                path.unlink()
            (clone / "pipelines" / "digits.yaml").write_text(TINY)
        try:
            measure([*EVERGREEN, "run", "digits"], clone)
            lock_bytes = (clone / "dvc.lock").stat().st_size
            n_pipelines = copy_results(clone)
            measure([*EVERGREEN, "status"], clone)  # the first one hashes what was copied
            for _ in range(REPEATS):
                for name, command in COMMANDS.items():
                    times[name].append(measure(command, clone))
            told = subprocess.run([*EVERGREEN, "status", "--json"], cwd=clone, capture_output=True, check=True)
            stale = [one["name"] for one in json.loads(told.stdout)["pipelines"] if one.get("stale")]
        finally:
            measure([*EVERGREEN, "stop"], clone)
    bare = statistics.median(wall for wall, _ in times[BARE])
    print("| command | wall, s | CPU, s | wall less python's own, s |\n|---|---:|---:|---:|")
    for name, values in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {wall - bare:.2f} |")
    lines = len((ROOT / "dvc.yaml").read_text().splitlines())
    print(f"\n{n_pipelines} pipelines, of which the status finds {len(stale)} stale.")
    print(f"Of one pipeline dvc.lock holds {lock_bytes:,} bytes; dvc.yaml has {lines} lines.")


if __name__ == "__main__":
    main()
