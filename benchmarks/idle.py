"""Seconds of `evergreen run digits` with nothing stale, endpoint up, against `dvc repro` that finds nothing to do.

All in a clone made for it, of what is committed: a run releases, and a release is a commit.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPEATS = 5
COMMANDS = {
    "evergreen run digits": [sys.executable, "-m", "evergreen.cli.main", "run", "digits"],
    "dvc repro (nothing to do)": [
        sys.executable,
        "-m",
        "dvc",
        "repro",
        "--quiet",
        *(f"{s}@digits" for s in ["validate"]),
    ],
    "python -c 'import prefect'": [sys.executable, "-c", "import prefect"],
}


def seconds(command: list[str], clone: Path) -> float:
    """Wall-clock seconds of one whole process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=clone, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Brings digits up to date once, then times the commands in turn: A B C, A B C, …"""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        try:
            seconds(COMMANDS["evergreen run digits"], clone)
            for _ in range(REPEATS):
                for name, command in COMMANDS.items():
                    times[name].append(seconds(command, clone))
        finally:
            seconds([sys.executable, "-m", "evergreen.cli.main", "stop"], clone)
    ours = statistics.median(times["evergreen run digits"])
    print("| command | median seconds | evergreen ÷ this |\n|---|---:|---:|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| `{name}` | {median:.2f} | {ours / median:.2f} |")


if __name__ == "__main__":
    main()
