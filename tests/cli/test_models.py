"""Commands that read what a pipeline has made: its report, its candidate's features."""

import json
import subprocess
import webbrowser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evergreen.cli import main
from evergreen.core.paths import Paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    yaml = "task: classification\ncollect: {uri: rows.csv}\npreprocess: {target: size}\n"
    (tmp_path / "pipelines" / "sizes.yaml").write_text(yaml)
    (tmp_path / "rows.csv").write_text("age,colour,size\n0.1,red,small\n0.7,blue,large\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return Paths(tmp_path, "sizes")


def test_the_report_is_found_and_opened(paths, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main.main(["report", "sizes"]) == 2
    assert "sizes has no report yet; make one with: evergreen run sizes" in capsys.readouterr().err
    for folder, words in ((paths.report, []), (paths.described, ["--data"])):
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
        assert main.main(["report", "sizes", *words, "--open"]) == 0
        assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
        assert opened.pop() == (folder / "report.html").as_uri()


def test_features_of_a_files_rows_are_written(paths, capsys, random_model):
    random_model("sizes", paths.candidate, 0, "mlp")
    assert main.main(["features", "sizes", "--input", "rows.csv", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    table = pq.read_table("sizes-features.parquet")
    assert (value["rows"], len(table)) == (2, 2)
    assert {"feature_0", "size", "_origin"} & set(table.column_names) >= {"feature_0", "_origin"}


def test_predict_needs_a_release(paths, capsys):
    assert main.main(["predict", "sizes", "rows.csv", "--output", "out.csv"]) == 2
    assert "sizes" in capsys.readouterr().err
    assert not Path("out.csv").exists()


def test_serve_needs_a_release(paths, capsys):
    assert main.main(["serve"]) == 2
    assert "nothing is released yet" in capsys.readouterr().err
