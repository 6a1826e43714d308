"""What long work says: one plain line per finished stage where nobody watches, a live line on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from evergreen.core.progress import console_progress, format_done, format_live

ROOT = Path(__file__).parents[2]
TRAINING = """
import time
from evergreen.core.progress import console_progress
with console_progress() as progress:
    progress(stage="train", epoch=3, epochs=40)
    time.sleep(0.5)
    progress(stage="train", summary="done", seconds=1)
"""


def test_the_live_line():
    line = format_live(
        stage="train", epoch=3, epochs=40, accuracy=0.98123, samples_per_second=5210.4, seconds_left=12.3
    )
    assert line == "train · epoch 3/40 · accuracy 0.9812 · 5,210 samples/s · 12 s left"


def test_the_line_that_stays():
    assert format_done(stage="train", summary="accuracy 0.99", seconds=12.34) == "✓ train        12.3 s  accuracy 0.99"


def test_plain_lines_off_a_terminal(capfd):
    with console_progress() as progress:
        progress(stage="train", epoch=3, epochs=40)
        progress(stage="train", summary="done", seconds=1)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "✓ train         1.0 s  done\n")


def test_a_live_line_on_a_terminal():
    ours, theirs = pty.openpty()
    variables = os.environ | {"TERM": "xterm"}
    subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT, stderr=theirs, check=True, env=variables)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert "train · epoch 3/40" in text
    assert "✓ train" in text
