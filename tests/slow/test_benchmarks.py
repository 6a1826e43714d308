"""Every benchmark runs to its end at its small size, prints its table, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
COMMANDS = {name: [f"benchmarks.{name}"] for name in NAMES} | {"reference": ["benchmarks.reference", "perceptron"]}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for all that a benchmark writes, with a path short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        yield Path(folder)


def processes(folder: Path) -> list[str]:
    """The command lines of all that works in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in f"{process.cmdline()} {process.cwd()} {process.environ().get('TMPDIR')}":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_runs_to_its_end_and_leaves_nothing(name: str, scratch: Path) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "benchmarks").rglob("*") if path.suffix in (".md", ".json")}
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PREFECT_"))}
    variables |= {"SMALL": "1", "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", *COMMANDS[name]]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("| ")], done.stdout
    assert {path: path.read_bytes() for path in before} == before  # the figures of real runs stand
    limit = time.monotonic() + 10
    while processes(scratch) and time.monotonic() < limit:
        time.sleep(0.2)
    assert processes(scratch) == []
    assert [path.name for path in scratch.iterdir() if path.name.startswith("bench-")] == []
