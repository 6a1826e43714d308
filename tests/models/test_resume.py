"""A run that is killed ends with the very bytes of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import runpy
import signal
import time
from pathlib import Path

import pytest

KILLS = 3
SCRIPT = str(Path(__file__).with_name("killable.py"))


@pytest.fixture(scope="module")
def processes():
    """Starts real processes; torch is imported once, by the server that forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["models.loop"])
    return context


def test_killed_at_random_moments_it_ends_the_same(processes, tmp_path):
    runpy.run_path(SCRIPT, {"FOLDER": None, "RESULT": tmp_path / "whole"})
    killed = 0
    while not (tmp_path / "killed").exists():
        process = processes.Process(
            target=runpy.run_path, args=(SCRIPT, {"FOLDER": tmp_path / "run", "RESULT": tmp_path / "killed"})
        )
        process.start()
        if killed < KILLS and _wrote_more(tmp_path / "run", process):
            time.sleep(random.uniform(0, 0.05))
            process.kill()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
    assert killed >= 2, "the run was too fast to be killed"
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()


def _wrote_more(folder: Path, process: multiprocessing.process.BaseProcess) -> bool:
    """Waits until the process has written a few checkpoints; False if it ended before."""
    before = _newest(folder)
    while _newest(folder) < before + 4:
        if not process.is_alive():
            return False
        time.sleep(0.002)
    return True


def _newest(folder: Path) -> int:
    return max((int(file.stem.removeprefix("step-")) for file in folder.glob("*.safetensors")), default=0)
