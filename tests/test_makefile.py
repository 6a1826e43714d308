"""What `make` installs, with a stand-in for Python: a wrong one, a failing one, a half-made folder."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) echo ${FITS:-True} ;;
  --version) echo Python 3.10.14 ;;
  "-m venv .venv") echo noise; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *torch==*) echo noise; echo "$FAIL" >&2; test -z "$FAIL" ;;
  *) echo noise; echo "$*" >>calls ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python3.10"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", f"PYTHON={clone / 'python3.10'}", ".venv/.ready"]
    # A make that runs the tests would count this one as its own, and tell which folder it enters.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")
    }
    return subprocess.run(command, cwd=clone, env=environment | variables, capture_output=True, text=True)


def test_an_old_python_is_refused_in_one_line(clone):
    start = time.monotonic()
    done = make(clone, FITS="False")
    assert time.monotonic() - start < 2
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "Evergreen needs Python 3.11 or later, and" in done.stderr
    assert "is Python 3.10.14" in done.stderr
    assert not (clone / ".venv").exists()


def test_each_step_is_one_line_and_pips_noise_is_hidden(clone):
    done = make(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["making", "installing", "installing", "preparing"]
    assert make(clone).stdout == "make: '.venv/.ready' is up to date.\n"


def test_what_fails_is_shown_and_the_next_try_begins_anew(clone):
    done = make(clone, FAIL="ERROR: no matching distribution")
    assert done.returncode != 0
    assert "ERROR: no matching distribution" in done.stderr
    (clone / ".venv" / "left").touch()
    assert make(clone).returncode == 0
    assert not (clone / ".venv" / "left").exists()


def test_a_finished_environment_is_brought_up_to_date_in_place(clone):
    make(clone)
    (clone / ".venv" / "kept").touch()
    os.utime(clone / "pyproject.toml", (time.time() + 5, time.time() + 5))
    assert make(clone).returncode == 0
    assert (clone / ".venv" / "kept").exists()
