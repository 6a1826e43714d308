"""Rows that are many: killed at any moment, in the memory that they were given."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evergreen.core.paths import Paths
from evergreen.stages.artifacts import folder_version
from tests.stages.many_rows import collected

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PREPARE = """
import sys
from pathlib import Path
from evergreen.stages.preprocess import stage as preprocess
from evergreen.core.paths import Paths
from evergreen.stages.preprocess import shards
from evergreen.data.prepare.config import PreprocessConfig
shards.ROWS = int(sys.argv[2])
print("imported", flush=True)
preprocess.run(PreprocessConfig(target="y", leakage_checks="off", memory_mb=int(sys.argv[3])),
               Paths(Path(sys.argv[1]), "t"), task="classification")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))  # the peak, in KiB
"""


def preparing(paths: Paths, rows: int = 5_000, memory_mb: int = 512) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREPARE, str(paths.root), str(rows), str(memory_mb)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "imported\n"
    return process


def test_killed_at_any_moment_it_ends_as_if_it_never_was(tmp_path):
    paths, draw = collected(tmp_path, 50_000), random.Random(0)
    process, start = preparing(paths), time.monotonic()
    assert process.wait() == 0
    whole, seconds = folder_version(paths.ready), time.monotonic() - start
    for _ in range(4):
        process = preparing(paths)
        time.sleep(draw.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder_version(paths.ready) == whole, "what was ready before is whole"
    assert preparing(paths).wait() == 0
    assert folder_version(paths.ready) == whole
    assert sorted(path.name for path in paths.raw.parent.iterdir()) == ["described", "raw", "ready"]
    assert not (paths.home / "preprocess" / "t").exists()


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (500_000, 1_500_000):
        root = tmp_path / str(rows)
        root.mkdir()
        process = preparing(collected(root, rows), 100_000)
        peaks.append(int(process.communicate()[0]) >> 10)
        assert process.returncode == 0
    assert max(peaks) < 1.25 * min(peaks), peaks
    assert max(peaks) < 512, peaks
