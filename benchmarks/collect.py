"""Many small files: collect and version against `dvc add` and commit of the folder; then 1% more of them.

`python -m benchmarks.collect 10000` says how many; 100,000 by default. The two take turns in new repositories, each
command a process of its own; what moves is what a remote holds more after `dvc push`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks import sized

SHIPPED = Path(__file__).parents[1]
PIXELS, REPEATS = 16, sized(3, 1)
OURS = """
import sys; sys.path.insert(0, {code!r})
from pathlib import Path
from evergreen.stages.collect import stage as collect
from evergreen.stages.engines import versions
from evergreen.core.paths import Paths
from evergreen.stages.collect.config import CollectConfig
paths = Paths(Path.cwd(), "photos")
print(collect.run(CollectConfig(uri="photos"), paths))
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
SECTIONS = "select: {}\ntune: {}\ntrain: {}\nvalidate: {}\n"
PIPELINE = f"task: classification\ncollect: {{uri: photos}}\npreprocess: {{target: folder}}\n{SECTIONS}"


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


def measured(name: str, folder: Path, given: list[Path]) -> list[tuple[float, int]]:
    """Seconds, and bytes that the remote holds more, of the first files and of some more."""
    root, remote, found = folder / name, folder / f"{name} remote", []
    root.mkdir()
    repository(root, remote)
    if name == "evergreen":
        (root / ".gitignore").write_text("/.evergreen\n/data\n/photos\n")
    for files in given:
        subprocess.run(["cp", "-r", f"{files}/.", root / "photos"], check=True)
        os.sync()  # writing them to the disk is no one's work here
        before, start = size(remote) if remote.exists() else 0, time.perf_counter()
        SIDES[name](root)
        seconds = time.perf_counter() - start
        dvc(root, "push", "-q")
        found.append((seconds, size(remote) - before))
    shutil.rmtree(root)
    shutil.rmtree(remote)
    return found


SIDES = {"evergreen": ours, "dvc add": theirs}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else sized(100_000, 200)
    runs = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        given = [Path(folder) / "all", Path(folder) / "more"]
        for files, first, more in zip(given, (0, count), (count, count // 100), strict=True):
            photos(files, first, more)
        for _ in range(REPEATS):
            for name in SIDES:
                runs[name].append(measured(name, Path(folder), given))
    seconds = {name: [median(one[step][0] for one in held) for step in (0, 1)] for name, held in runs.items()}
    print(f"{count:,} PNG files of {PIXELS}×{PIXELS} pixels; then {count // 100:,} more. Medians of {REPEATS}.\n")
    print("| | seconds, all | seconds, 1% more | MB moved, all | MB moved, 1% more | share |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, held in runs.items():
        first, second = (moved / 1e6 for _, moved in held[0])
        times = " | ".join(f"{value:.1f}" for value in seconds[name])
        print(f"| {name} | {times} | {first:.1f} | {second:.2f} | {second / first:.1%} |")
    ratios = [theirs / ours for ours, theirs in zip(*seconds.values(), strict=True)]
    print(f"| **times as fast** | **{ratios[0]:.1f}** | **{ratios[1]:.1f}** | | | |")


if __name__ == "__main__":
    main()
