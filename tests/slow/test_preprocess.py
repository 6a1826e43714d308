"""Rows that are many: by Ray's workers as by this process, killed at any moment, in the memory that they were given."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import shards, workers
from evergreen.stages.preprocess import stage as preprocess

ROOT = Path(__file__).parents[2]
PREPARE = """
import sys
from pathlib import Path
from evergreen.stages.preprocess import stage as preprocess
from evergreen.core.paths import Paths
from evergreen.stages.preprocess import shards
from evergreen.data.prepare.config import PreprocessConfig
shards.ROWS = int(sys.argv[2])
preprocess.run(PreprocessConfig(target="y", leakage_checks="off", memory_mb=int(sys.argv[3])),
               Paths(Path(sys.argv[1]), "t"), task="classification")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))  # the peak, in KiB
"""


def collected(root: Path, rows: int) -> Paths:
    draw, paths = np.random.default_rng(0), Paths(root, "t")
    columns = {name: draw.normal(size=rows).round(4) for name in "abcd"}
    columns |= {"c": draw.integers(0, 50, rows), "y": np.array(["yes", "no"])[draw.integers(0, 2, rows)]}
    pyarrow.csv.write_csv(pa.table(columns), root / "t.csv")
    collect.run(CollectConfig(uri="t.csv"), paths)
    return paths


def preparing(paths: Paths, rows: int = 5_000, memory_mb: int = 512, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREPARE, str(paths.root), str(rows), str(memory_mb)]
    return subprocess.Popen(command, env=environment, **options)


@pytest.mark.parametrize("hands", [1, 3])
def test_rays_workers_write_the_same_bytes(clone, monkeypatch, hands):
    monkeypatch.setattr(shards, "ROWS", 5_000)
    paths, params = collected(clone, 100_000), PreprocessConfig(target="y", leakage_checks="off")
    preprocess.run(params, paths, task="classification")
    alone, by_ray = folder_version(paths.ready), []
    whole = workers._by_ray
    monkeypatch.setattr(workers, "_by_ray", lambda *given: by_ray.append(given) or whole(*given[:3], hands))
    monkeypatch.setattr(workers, "use_ray", lambda rows, root: True)
    preprocess.run(params, paths, task="classification")
    assert by_ray
    assert folder_version(paths.ready) == alone


def test_a_mistake_found_by_a_worker_is_one_message(clone, monkeypatch):
    from evergreen.core.errors import DataError

    monkeypatch.setattr(workers, "use_ray", lambda rows, root: True)
    paths = collected(clone, 60_000)
    part = sorted(paths.raw.glob("part-*.parquet"))[0]
    data = bytearray(part.read_bytes())
    middle = len(data) // 4
    data[middle : middle + 2000] = bytes(2000)
    part.write_bytes(data)
    with pytest.raises(DataError, match="a collected file is damaged"):
        preprocess.run(PreprocessConfig(target="y", leakage_checks="off"), paths, task="classification")


def test_killed_at_any_moment_it_ends_as_if_it_never_was(tmp_path):
    paths, draw = collected(tmp_path, 200_000), random.Random(0)
    start = time.monotonic()
    assert preparing(paths, stdout=subprocess.DEVNULL).wait() == 0
    whole, seconds = folder_version(paths.ready), time.monotonic() - start
    for _ in range(20):
        process = preparing(paths, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder_version(paths.ready) == whole, "what was ready before is whole"
    assert preparing(paths, stdout=subprocess.DEVNULL).wait() == 0
    assert folder_version(paths.ready) == whole
    assert sorted(path.name for path in paths.raw.parent.iterdir()) == ["described", "raw", "ready"]
    assert not (paths.home / "preprocess" / "t").exists()


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (500_000, 1_500_000):
        root = tmp_path / str(rows)
        root.mkdir()
        process = preparing(collected(root, rows), 100_000, 512, stdout=subprocess.PIPE, text=True)
        peaks.append(int(process.communicate()[0]) >> 10)
        assert process.returncode == 0
    assert max(peaks) < 1.25 * min(peaks), peaks
    assert max(peaks) < 512, peaks
