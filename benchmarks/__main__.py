"""`make bench`: runs every benchmark of this folder and writes RESULTS.md: the machine, the commands, the tables.

`make bench SMALL=1` shows that all of them run, and writes nothing.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import SMALL

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"


def machine() -> str:
    """Processor, cores, memory and the versions that decide the figures, in one line."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "prefect", "dvc"))
    processor = model.group(1) if model else platform.processor()
    return f"{processor}, {os.cpu_count()} cores, {gigabytes:.0f} GiB; Python {platform.python_version()}, {packages}"


def main() -> int:
    """Runs each benchmark in a process of its own, one after another; a failing one fails the whole."""
    names = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    sections = [
        f"# Benchmarks\n\nWritten by `make bench` on: {machine()}.\nRatios of things timed side by side in one run.\n"
    ]
    for name in names:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        print(f"benchmarks.{name} …", file=sys.stderr, flush=True)
        done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        if done.returncode:
            return done.returncode
        sections.append(f"## {name}\n\n`python -m benchmarks.{name}`\n\n{done.stdout.strip()}\n")
    if SMALL:
        return 0
    temporary = RESULTS.with_suffix(".tmp")
    temporary.write_text("\n".join(sections))
    temporary.replace(RESULTS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
