"""What was tried is listed for people, for programs and as Parquet; a misspelt range is named with its line."""

import json

import pytest

from evergreen.cli import main
from evergreen.core.paths import Paths
from evergreen.stages.trials.ledger import Ledger

PIPELINE = "task: classification\ncollect: {uri: rows.csv}\npreprocess: {target: y}\n"


@pytest.fixture
def paths(tmp_path, monkeypatch):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "pipelines" / "small.yaml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    return Paths(tmp_path, "small")


def test_trials_are_a_table_with_what_failed_and_why(paths, capsys):
    assert main.main(["trials", "small"]) == 0
    assert capsys.readouterr().out.startswith("small has no trials; tune: {effort: 1}")
    ledger = Ledger(paths.trials, {"data": "a"})
    facts = {"number": 0, "options": {"rate": 0.01}, "state": "finished", "score": 0.25, "epochs": 9, "seconds": 1.5}
    ledger.add({"rate": 0.01, "number": 0}, facts | {"curve": [-0.5, -0.25]})
    facts = {"number": 1, "options": {"rate": 9.0}, "state": "failed", "score": None, "reason": "it is no number"}
    ledger.add({"rate": 9.0, "number": 1}, facts)
    assert main.main(["trials", "small"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["trial", "score", "rungs", "epochs", "seconds", "state", "options"]
    assert first.split() == ["0", "0.25", "2", "9", "1.5", "finished", "rate", "0.01"]
    assert second.split() == ["1", "0", "failed", "rate", "9;", "it", "is", "no", "number"]
    assert main.main(["trials", "small", "--json", "--parquet", "out.parquet"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in value["trials"]] == ["finished", "failed"]
    assert (paths.root / "out.parquet").is_file()


def test_a_misspelt_range_is_named_with_its_line(paths, capsys):
    paths.pipeline.write_text(PIPELINE + "tune:\n  space: {droput: [0.1, 0.2]}\n")
    assert main.main(["rerun", "small", "--trial", "0"]) == 2
    error = capsys.readouterr().err
    assert "small.yaml:5" in error
    assert "did you mean 'dropout'?" in error
