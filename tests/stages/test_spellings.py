"""From `new` to prepared rows: how words are spelt, encoded and missing is decided once, told once, and kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from evergreen.cli import main
from evergreen.core.errors import DataError
from evergreen.core.paths import Paths
from evergreen.data.prepared import QUARANTINED
from evergreen.data.prepared import read as read_rows
from evergreen.stages.collect import stage as collect
from evergreen.stages.pipeline import Pipeline, read
from evergreen.stages.preprocess import stage as preprocess


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(
    project: Path, capsys: Any, content: bytes | str, name: str = "t.csv", target: str = "y"
) -> tuple[Pipeline, str]:
    (project / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main.main(["new", "t", "--from", name, "--target", target]) == 0, capsys.readouterr().err
    return read("t", project), capsys.readouterr().out


def prepare(project: Path, pipeline: Pipeline) -> dict[str, Any]:
    paths = Paths(project, "t")
    collect.run(pipeline.collect, paths)
    preprocess.run(pipeline.preprocess, paths, task=pipeline.task)
    return json.loads((paths.ready / "summary.json").read_text())


def quarantined(project: Path) -> list[dict[str, Any]]:
    return read_rows(Paths(project, "t").ready, QUARANTINED).to_pylist()


def test_an_encoding_is_told_and_written_down(project, capsys):
    three = ["Иван", "Мария", "Сергей"]
    text = "who,n,y\n" + "".join(f"{three[n % 3]},{n % 17},{'yn'[n % 3 == 1]}\n" for n in range(90))
    pipeline, told = new(project, capsys, text.encode("cp1251"))
    assert told.count("is read as cp1251 (Иван, Мария, Сергей)") == 1
    assert pipeline.collect.encoding == "cp1251"
    prepare(project, pipeline)
    (project / "t.csv").write_text(text)  # one day the file comes in UTF-8
    assert prepare(project, pipeline)["inputs"]


def test_collect_tells_what_was_guessed(project):
    (project / "t.csv").write_bytes("who,y\nŁódź,a\nŻuk,b\n".encode("iso8859_2"))
    result = collect.run(collect.CollectConfig(uri="t.csv"), Paths(project, "t"))
    assert "t.csv is read as iso8859_2 (Łódź, Żuk)" in result["beware"]
    result = collect.run(collect.CollectConfig(uri="t.csv", encoding="iso8859_2"), Paths(project, "t"))
    assert "beware" not in result


def test_another_encoding_reads_the_file_again(project):
    paths = Paths(project, "t")
    (project / "t.csv").write_bytes("who,y\nŁódź,a\nŻuk,b\n".encode("iso8859_2"))
    for encoding, word in (("", "Łódź"), ("cp1251", "Јуdј"), ("iso8859_2", "Łódź")):
        collect.run(collect.CollectConfig(uri="t.csv", encoding=encoding), paths)
        (part,), _ = collect.load_collected(collect.CollectConfig(uri="t.csv"), paths)
        assert part.read()["who"].to_pylist()[0] == word


def test_a_nul_costs_its_row_alone(project, capsys):
    lines = ["x,z,y", *(f"{n / 7:.2f},{n % 13},{'ab'[n % 2]}" for n in range(150))]
    lines[70] = "1.0,\x002.0,a"
    pipeline, told = new(project, capsys, "\n".join(lines) + "\n")
    assert told.count("t.csv#71 (it holds a NUL byte: 1.0,␀2.0,a)") == 1
    prepare(project, pipeline)
    (row,) = quarantined(project)
    assert (row["origin"], row["reason"]) == ("t.csv#71", "it holds a NUL byte")


CONSTANT = "c1,c2,c3,y\n" + "".join(f"1,same,,{'ab'[n % 2]}\n" for n in range(60))


@pytest.mark.parametrize(("target", "task"), [("y", "classification"), ("z", "regression")])
def test_constant_inputs_are_named(target, task, project, capsys):
    lines = CONSTANT.splitlines()
    text = "\n".join([f"{lines[0]},z", *(f"{line},{n * n % 47}" for n, line in enumerate(lines[1:]))])
    pipeline, told = new(project, capsys, text, target=target)
    assert "'c1', 'c2': the same in every row" in told
    config = pipeline.preprocess.model_copy(update={"drop_columns": ["z" if target == "y" else "y"], "kinds": {}})
    paths = Paths(project, "t")
    collect.run(pipeline.collect, paths)
    with pytest.raises(DataError, match=r"every input is constant: 'c1' \(1\), 'c2' \(same\), 'c3' \(empty\)"):
        preprocess.run(config, paths, task=task)


def test_a_column_that_is_there_or_not_is_not_constant(project, capsys):
    text = "c1,y\n" + "".join(f"{'x' * (n % 2)},{'ab'[n % 2]}\n" for n in range(60))
    _, told = new(project, capsys, text)
    assert "the same in every row" not in told
