"""What works outside a project too, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.cli import main


def evergreen(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evergreen.cli.main", *words]
    own = {"HOME": str(folder), "SHELL": "/bin/bash"}
    return subprocess.run(command, cwd=folder, env=os.environ | own | variables, capture_output=True, text=True)


def test_the_version_is_the_installed_one(tmp_path):
    from importlib.metadata import version

    assert evergreen(tmp_path, "--version").stdout == f"evergreen {version('evergreen')}\n"


@pytest.mark.parametrize("words", [[], ["--help"], ["report", "--help"]])
def test_help_is_on_stdout(tmp_path, words):
    done = evergreen(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: evergreen")


@pytest.mark.slow
def test_completion_names_commands_options_and_pipelines_and_writes_nothing(tmp_path):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "digits.yaml").touch()
    before = sorted(tmp_path.rglob("*"))

    def complete(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_EVERGREEN_COMPLETE": "complete_bash"}
        return evergreen(tmp_path, **asked).stdout.split()

    assert complete("evergreen ru") == ["run", "runs"]
    assert complete("evergreen report --da") == ["--data"]
    assert complete("evergreen run dig") == ["digits"]
    assert sorted(tmp_path.rglob("*")) == before


def test_doctor_outside_a_project_checks_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["doctor", "--json"]) == 0
    findings = {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert {"python", "packages", "disk", "memory", "gpu", "git", "project"} <= set(findings)
    assert "evergreen init makes one" in findings["project"]["text"]
    assert "pipelines" not in findings
    assert list(tmp_path.iterdir()) == []


def test_the_json_schema_knows_every_section(tmp_path, monkeypatch, capsys):
    from evergreen.stages.operation import Operation
    from evergreen.stages.pipeline import SECTIONS

    monkeypatch.chdir(tmp_path)
    assert main.main(["schema", "--json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"task", *Operation.known_keys(), *SECTIONS} == set(schema["properties"])
    assert main.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema
