"""One stage alone, and DVC's own command line, from the one command that is on the path."""

import subprocess
import sys
from pathlib import Path

from evergreen.cli import main
from evergreen.core.paths import Paths

ROOT = Path(__file__).parents[2]


def write_pipeline(root: Path) -> None:
    (root / "pipelines").mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "pyproject.toml").write_text("")
    (root / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    (root / "pipelines" / "tiny.yaml").write_text(
        "task: regression\ncollect: {uri: rows.csv}\npreprocess: {target: b}\n"
    )


def test_a_stage_runs_alone(tmp_path, monkeypatch, capsys):
    write_pipeline(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main.main(["stage", "collect", "tiny"]) == 0
    assert list(Paths(tmp_path, "tiny").raw.iterdir())
    assert main.main(["stage", "colect", "tiny"]) == 2
    assert "did you mean 'collect'?" in capsys.readouterr().err


def test_dvc_gets_its_own_arguments(tmp_path):
    words = [sys.executable, "-m", "evergreen.cli.main", "dvc", "version", "--help"]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: dvc version")
