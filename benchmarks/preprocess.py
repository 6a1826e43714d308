"""A table from CSV to rows that can be learned from, against a bare script that reads, casts and writes the columns.

`python -m benchmarks.preprocess 2000000` says how many rows; 20,000,000 by default; a tenth of them beside, the two
measured in turns, since no machine is equally fast for minutes. Each side is a process of its own, timed
from when its modules are loaded. Core-seconds are its own; its peak is the operating system's, and that of processes
that it starts is looked at ten times a second.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from benchmarks import sized

SHIPPED = Path(__file__).parents[1]
AT_ONCE = 100_000
TURNS, BESIDE = sized((3, 2), (1, 1))  # the larger table, the smaller so many times before and as many after it
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "knoll", "linden", "maple"]
SHOPS = [f"shop {number:03}" for number in range(200)]
PEAK = """
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": time.perf_counter() - start, "cores": time.process_time() - spent, "kib": peak}))
"""
BARE = """
import json, time
import pyarrow as pa, pyarrow.csv as csv, pyarrow.parquet as pq
start, spent = time.perf_counter(), time.process_time()
with csv.open_csv("t.csv", read_options=csv.ReadOptions(block_size=8 << 20)) as table:
    with pq.ParquetWriter("t.parquet", table.schema) as file:
        for batch in table:
            file.write_batch(batch)
"""
OURS = """
import json, sys, time
sys.path.insert(0, {code!r})
from pathlib import Path
import pyarrow.csv, pyarrow.parquet, pyarrow.acero, torch, sklearn.ensemble, scipy.special, evergreen.models.registry
import evergreen.data.prefetch, evergreen.data.spec, evergreen.data.sources.csv, evergreen.core.workdir
from evergreen.data.prepare import series_reader, table_reader
from evergreen.data.quality import profile
from evergreen.stages.collect import deduplicate, incremental, snapshot, watermark
from evergreen.stages.engines import ray_cluster
from evergreen.stages.preprocess import changes, checks
from evergreen.data import kinds
from evergreen.stages.collect import stage as collect
from evergreen.stages.preprocess import stage as preprocess
from evergreen.core.paths import Paths
from evergreen.stages.preprocess import fit_spec, passes, publish, raw_sample
from evergreen.stages.collect.config import CollectConfig
from evergreen.data.prepare.config import PreprocessConfig
evergreen.models.registry.find_task("classification")
[kinds.find(name) for name in kinds.names()]
start, spent, paths = time.perf_counter(), time.process_time(), Paths(Path.cwd(), "t")
collect.run(CollectConfig(uri="t.csv"), paths)
print(json.dumps({{"collect": time.perf_counter() - start}}))
preprocess.run(PreprocessConfig(target="churned"), paths, task="classification")
"""


def rows(first: int, count: int) -> pa.Table:
    """20 columns: numbers, categories, texts and dates. The same numbers make the same rows."""
    draw = np.random.default_rng(first)
    columns = {f"real_{number}": draw.normal(size=count).round(4) for number in range(5)}
    columns |= {"price": draw.gamma(2, 20, count).round(2), "age": draw.integers(18, 95, count)}
    columns |= {"count": draw.integers(0, 100_000, count), "visits": draw.poisson(3, count)}
    columns["share"] = pa.array(draw.random(count).round(3), mask=draw.random(count) < 0.02)
    names = {"country": ["DE", "FR", "ES", "IT", "PL"], "plan": ["free", "plus", "pro"], "shop": SHOPS}
    names |= {"device": ["phone", "tablet", "laptop"], "active": ["true", "false"], "churned": ["yes", "no", "no"]}
    columns |= {name: _drawn(draw, words, count) for name, words in names.items()}
    for name, length in (("review", 5), ("note", 4)):
        said = [_drawn(draw, WORDS, count) for _ in range(length)]
        columns[name] = pc.binary_join_element_wise(*said, " ")
    seen = np.datetime64("2020-01-01", "s") + draw.integers(0, 5 * 365 * 86_400, count)
    return pa.table({**columns, "joined": pa.array(seen.astype("datetime64[D]")), "seen": pa.array(seen)})


def _drawn(draw: np.random.Generator, words: list[str], count: int) -> pa.Array:
    return pa.array(words).take(pa.array(draw.integers(0, len(words), count)))


def table(path: Path, count: int) -> None:
    options = pyarrow.csv.WriteOptions(quoting_style="none")
    with pyarrow.csv.CSVWriter(path, rows(0, 1).schema, write_options=options) as file:
        for first in range(0, count, AT_ONCE):
            file.write_table(rows(first, min(AT_ONCE, count - first)))


def measured(code: str, folder: Path) -> dict[str, float]:
    """Seconds, and the peak in KiB of the largest process."""
    process = subprocess.Popen([sys.executable, "-c", code + PEAK], cwd=folder, stdout=subprocess.PIPE, text=True)
    ended, others = threading.Event(), [0]
    watch = threading.Thread(target=_watch, args=[psutil.Process(process.pid), ended, others])
    watch.start()
    output, _ = process.communicate()
    ended.set()
    watch.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    found: dict[str, float] = {}
    for line in output.splitlines():
        found |= json.loads(line)
    return found | {"kib": max(found["kib"], others[0] / 1024)}


def _watch(process: psutil.Process, ended: threading.Event, largest: list[int]) -> None:
    while not ended.wait(0.1):
        with contextlib.suppress(psutil.Error):
            for one in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    largest[0] = max(largest[0], one.memory_info().rss)


def both(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What the bare script took, and what we took, of the same table."""
    bare = measured(BARE, folder)
    (folder / "t.parquet").unlink()
    ours = measured(OURS.format(code=str(SHIPPED)), folder)
    for left in ("data", ".evergreen"):
        shutil.rmtree(folder / left)
    return bare, ours


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else sized(20_000_000, 20_000)
    sizes = (count // 10, count)
    found: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folders = {size: Path(name) / str(size) for size in sizes}
        for size, folder in folders.items():
            folder.mkdir()
            table(folder / "t.csv", size)
        bytes_of = {size: (folder / "t.csv").stat().st_size for size, folder in folders.items()}
        os.sync()
        for size in (*sizes[:1] * BESIDE, sizes[1], *sizes[:1] * BESIDE) * TURNS:
            found[size].append(both(folders[size]))
    print(f"Medians of {TURNS} turns: the larger table, and the smaller one {BESIDE} times before and after it.\n")
    print("| rows | | seconds | core-seconds | rows/s | ratio to bare | peak of any process, MiB |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for size in sizes:
        bare, ours = (_middle([run[side] for run in found[size]]) for side in (0, 1))
        ratio = median(bare["seconds"] / ours["seconds"] for bare, ours in found[size])
        part = f"collect {ours['collect']:.1f}, preprocess {ours['seconds'] - ours['collect']:.1f}"
        print(f"| {size:,} ({bytes_of[size] / 1e9:.2f} GB) | bare pyarrow | {_line(size, bare, 1.0)} |")
        print(f"| | collect + preprocess ({part}) | {_line(size, ours, ratio)} |")
    theirs, times = (_times([run[side]["seconds"] for run in found[size]] for size in sizes) for side in (0, 1))
    print(f"\nTen times the rows took {median(times):.1f} times as long ({_listed(times)} in the turns)")
    print(f"where they took the bare script {median(theirs):.1f} times as long ({_listed(theirs)}).")


def _times(seconds: Iterable[list[float]]) -> list[float]:
    """How many times as long the larger table took, in each turn."""
    few, many = seconds
    turns = np.array_split(few, TURNS)
    return [one / float(np.median(beside)) for one, beside in zip(many, turns, strict=True)]


def _listed(times: list[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in times)


def _middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each fact, of memory the most."""
    return {fact: (max if fact == "kib" else median)(run[fact] for run in runs) for fact in runs[0]}


def _line(size: int, found: dict[str, float], ratio: float) -> str:
    times = f"{found['seconds']:.1f} | {found['cores']:.1f}"
    return f"{times} | {size / found['seconds']:,.0f} | {ratio:.2f} | {found['kib'] / 1024:,.0f}"


if __name__ == "__main__":
    main()
