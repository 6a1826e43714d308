"""Many small files: collect and version against `dvc add` and commit of the folder; then 1% more of them.

`python -m benchmarks.collect 10000` says how many; 100,000 by default. Each command is a process of its own; what moves
is what a remote holds more after `dvc push`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SHIPPED = Path(__file__).parents[1]
PIXELS = 16
OURS = """
import sys; sys.path.insert(0, {code!r})
from pathlib import Path
from stages import collect, versions
from stages.artifacts import Paths
paths = Paths(Path.cwd(), "photos")
print(collect.run(collect.Params("photos"), paths))
versions.commit(paths, "collect")
"""
GRAPH = """
stages:
  collect:
    foreach: ${pipelines}
    do:
      cmd: "true"
      outs:
        - data/store/${item}/raw:
            persist: true
"""
PIPELINE = "task: classification\ncollect: {}\npreprocess: {}\nselect: {}\ntune: {}\ntrain: {}\nvalidate: {}\n"


def photos(folder: Path, first: int, count: int) -> None:
    """Small PNG files in ten folders, of random pixels, which nothing compresses."""
    draw = np.random.default_rng(first)
    for number in range(first, first + count):
        path = folder / f"{number % 10}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)).save(path)


def repository(root: Path, remote: Path) -> None:
    for command in ("git init -q -b main", "git config user.name Bench", "git config user.email bench@example.org"):
        subprocess.run(command.split(), cwd=root, check=True)
    dvc(root, "init", "-q")
    dvc(root, "config", "core.analytics", "false")
    dvc(root, "remote", "add", "-q", "-d", "here", str(remote))
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text("pipelines:\n  - photos\n")
    (root / "pipelines").mkdir()
    (root / "pipelines" / "photos.yaml").write_text(PIPELINE)
    (root / ".gitignore").write_text("/.evergreen\n/data\n")
    git(root)


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, stdout=subprocess.DEVNULL)


def git(root: Path) -> None:
    subprocess.run("git add -A && git commit -qm more", shell=True, cwd=root, check=True, stdout=subprocess.DEVNULL)


def ours(root: Path) -> None:
    code = OURS.format(code=str(SHIPPED))
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, stdout=subprocess.DEVNULL)
    subprocess.run("git add dvc.lock && git commit -qm more", shell=True, cwd=root, check=True)


def theirs(root: Path) -> None:
    dvc(root, "add", "-q", "photos")
    git(root)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seconds, moved = {}, {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name, work in (("evergreen", ours), ("dvc add", theirs)):
            root, remote = Path(folder) / name, Path(folder) / f"{name} remote"
            root.mkdir()
            repository(root, remote)
            if work is ours:
                (root / ".gitignore").write_text("/.evergreen\n/data\n/photos\n")
            for step, (first, more) in enumerate([(0, count), (count, count // 100)]):
                photos(root / "photos", first, more)
                os.sync()  # writing them to the disk is no one's work here
                before, start = size(remote) if remote.exists() else 0, time.perf_counter()
                work(root)
                seconds[name, step] = time.perf_counter() - start
                dvc(root, "push", "-q")
                moved[name, step] = size(remote) - before
    print(f"{count:,} PNG files of {PIXELS}×{PIXELS} pixels; then {count // 100:,} more.\n")
    print("| | seconds, all | seconds, 1% more | MB moved, all | MB moved, 1% more | share |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in ("evergreen", "dvc add"):
        first, second = (moved[name, step] / 1e6 for step in (0, 1))
        times = f"{seconds[name, 0]:.1f} | {seconds[name, 1]:.1f}"
        print(f"| {name} | {times} | {first:.1f} | {second:.2f} | {second / first:.1%} |")
    ratios = [seconds["dvc add", step] / seconds["evergreen", step] for step in (0, 1)]
    print(f"| **times as fast** | **{ratios[0]:.1f}** | **{ratios[1]:.1f}** | | | |")


if __name__ == "__main__":
    main()
