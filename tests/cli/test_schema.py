"""`evergreen schema` and `evergreen quarantine`, as a person uses them on a dirty table of their own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.paths import Paths
from evergreen.stages.collect import stage as collect
from evergreen.stages.pipeline import read
from evergreen.stages.preprocess import stage as preprocess

ROOT = Path(__file__).parents[2]
GOOD = [f"k{n},{18 + n % 60},{'basic' if n % 3 else 'pro'},{'yes' if n % 2 else 'no'}" for n in range(200)]
BAD = ["k200,forty,pro,yes", "k201,130,pro,no", "k202,30,gold,no", "k203,30,pro"]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, [*GOOD, *BAD])
    assert main.main(["new", "people", "--from", "people.csv", "--target", "churned"]) == 0
    return tmp_path


def write(root: Path, lines: list[str]) -> None:
    (root / "people.csv").write_text("\n".join(["customer_id,age,plan,churned", *lines]) + "\n")


def prepare(root: Path) -> None:
    pipeline, paths = read("people", root), Paths(root, "people")
    collect.run(pipeline.collect, paths)
    preprocess.run(pipeline.preprocess, paths, task=pipeline.task)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_schema_is_shown_written_and_then_holds(clone, capsys):
    shown = said(capsys, "schema", "people")
    assert "    age: {kind: number, min: 0, max: 150, missing: 0}" in shown
    assert "    customer_id: {unique: true}" in shown
    assert "evergreen schema people --write" in shown
    assert "wrote 4 columns into pipelines/people.yaml" in said(capsys, "schema", "people", "--write")
    file = clone / "pipelines" / "people.yaml"
    text = file.read_text()
    assert "    age: number  # 18 to 130; 1 are not numbers and are quarantined\n" in text
    file.write_text(
        text.replace("max: 150", "max: 100").replace("allowed: [basic, gold, pro]", "allowed: [basic, pro]")
    )
    assert "every column is described" in said(capsys, "schema", "people", "--write")
    assert "max: 100" in file.read_text()  # what a person wrote stays
    prepare(clone)
    told = json.loads(said(capsys, "quarantine", "people", "--json"))
    assert (told["quarantined"], told["rows"], told["stopped"]) == (4, 204, None)
    assert {one["reason"]: one["examples"][0]["value"] for one in told["reasons"]} == {
        "age: not a number": "age=forty",
        "age: above 100": "age=130",
        "plan: not one of basic, pro": "plan=gold",
        "3 fields where 4 belong": "k203,30,pro",
    }
    shown = said(capsys, "schema", "people")
    assert "# 4 columns from the file" in shown


def test_a_run_that_stopped_can_be_looked_at_mended_and_replayed(clone, capsys, monkeypatch):
    from evergreen.stages.engines import versions

    monkeypatch.setattr(versions, "prepare", lambda root: None)
    monkeypatch.setattr(versions, "commit", lambda paths, stage: None)
    assert main.main(["quarantine", "people"]) == 2
    assert "no rows of people are prepared yet; prepare them with: evergreen run people" in capsys.readouterr().err
    write(clone, [*GOOD, *BAD[:1] * 3, *BAD[1:] * 20])
    assert main.main(["quarantine", "people"]) == 2
    file = clone / "pipelines" / "people.yaml"
    file.write_text(
        file.read_text().replace("  kinds:", '  max_invalid_fraction: 0.15\n  rules: ["age < 100"]\n  kinds:')
    )
    with pytest.raises(ValueError, match="see them with: evergreen quarantine people"):
        prepare(clone)
    shown = said(capsys, "quarantine", "people")
    assert "people: 43 of 263 rows are quarantined (16.3%)" in shown
    assert "the last run stopped here" in shown
    assert "rule: age < 100\n           people.csv#205  age=130" in shown
    write(clone, [*GOOD, *BAD[1:] * 20])
    file.write_text(file.read_text().replace("age < 100", "age < 200"))
    shown = said(capsys, "quarantine", "people", "--replay")
    assert "people: 43 rows were quarantined, 20 are now, and 240 are prepared" in shown
    assert "       20 → 0          rule: age < 100" in shown
    assert "       20 → 20         3 fields where 4 belong" in shown
    assert "stopped here" not in said(capsys, "quarantine", "people")
