"""From `new` to prepared rows: how words are spelt, encoded and missing is decided once, told once, and kept."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from evergreen.cli import main
from evergreen.core.errors import DataError
from evergreen.core.paths import Paths
from evergreen.data import kinds
from evergreen.data.fitting import fit_inputs
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import QUARANTINED
from evergreen.data.prepared import read as read_rows
from evergreen.data.spec import FeatureSpec
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


def spelt(words: list[str], rows: int = 240) -> str:
    """A table whose class follows x, the classes spelt in turn as `words` say: a, A, b, B …, half of them of each."""
    half = len(words) // 2
    lines = (f"{n % 40},{n % 7},{words[(n % 40 > 19) * half + n // 40 % half]}" for n in range(rows))
    return "x,z,y\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        (["TRUE", "True", "true ", "true", "FALSE", "False", " false", "false"], [False, True]),
        (["cat", "Cat", "CAT ", "dog", "Dog", " dog"], ["cat", "dog"]),
        (["Straße", "STRASSE", "straße", "Weg", "weg", "WEG"], ["strasse", "straße", "weg"]),
        (["İzmir", "izmir", "IZMIR", "Ürgüp", "ürgüp", "ÜRGÜP"], ["izmir", "ürgüp"]),
    ],
)
def test_values_that_differ_in_capitals_are_folded_and_told_once(words, classes, project, capsys):
    pipeline, told = new(project, capsys, spelt(words))
    assert told.count("are one value") == 1
    assert "`spelling: exact` keeps them apart" in told
    assert pipeline.preprocess.kinds["y"] == {"kind": "category", "spelling": "fold"}
    prepare(project, pipeline)
    spec = json.loads((Paths(project, "t").ready / "spec.json").read_text())
    assert spec["target"]["state"]["values"] == [classes]


@pytest.mark.parametrize(
    "words",
    [
        ["caf\u00e9", "cafe\u0301", "th\u00e9", "the\u0301"],
        ["New York", "New  York ", "New\u00a0York", "Rome", " Rome", "Ro\u00adme"],
        ["yes", "\u200byes", "no", "no\ufeff"],
    ],
    ids=["NFC and NFD", "blanks", "no width"],
)
def test_blanks_and_ways_to_write_a_letter_make_no_class(words, project, capsys):
    pipeline, told = new(project, capsys, spelt(words))
    assert told.count("are one value") == 1
    assert "spelling" not in str(pipeline.preprocess.kinds)
    prepare(project, pipeline)
    spec = json.loads((Paths(project, "t").ready / "spec.json").read_text())
    assert len(spec["target"]["state"]["values"][0]) == 2


def test_missing_words_are_no_classes(project, capsys):
    lines = spelt(["yes", "no"]).splitlines()
    for place, word in zip(range(5, 50, 5), ["", "NA", "null", "None", "N/A", "nan", "?", "  ", "#N/A"], strict=True):
        lines[place] = lines[place].rpartition(",")[0] + f",{word}"
    pipeline, told = new(project, capsys, "\n".join(lines) + "\n")
    assert told.count("say that it is missing") == 1
    assert "null" in told
    assert "missing_words: []" in told
    prepare(project, pipeline)
    spec = json.loads((Paths(project, "t").ready / "spec.json").read_text())
    assert spec["target"]["state"]["values"] == [["no", "yes"]]
    assert [row["reason"] for row in quarantined(project)] == ["y: missing"] * 9


def test_words_that_are_classes_stay_classes(project, capsys):
    pipeline, _ = new(project, capsys, spelt(["none", "Na", "severe", "light"]))
    prepare(project, pipeline)
    spec = json.loads((Paths(project, "t").ready / "spec.json").read_text())
    assert spec["target"]["state"]["values"] == [["Na", "light", "none", "severe"]]  # sodium, and a common "none"
    regions = spelt(["NA", "EU", "NA", "ASIA"])
    (project / "t.csv").write_text(regions)
    options = {"y": {"kind": "category", "missing_words": []}}
    config = pipeline.preprocess.model_copy(update={"kinds": options})
    pipeline = dataclasses.replace(pipeline, preprocess=config)
    prepare(project, pipeline)
    spec = json.loads((Paths(project, "t").ready / "spec.json").read_text())
    assert spec["target"]["state"]["values"] == [["ASIA", "EU", "NA"]]


def test_a_pipeline_that_says_nothing_is_asked(project):
    (project / "t.csv").write_text(spelt(["cat", "Cat", "dog", "NA"]))
    paths = Paths(project, "t")
    collect.run(collect.CollectConfig(uri="t.csv"), paths)
    config = PreprocessConfig(target="y", max_invalid_fraction=0.5)
    said = preprocess.run(config, paths, task="classification")["beware"]
    assert "'cat', 'Cat' differ in capitals alone; to make them one: `kinds: {\"y\": {kind: category" in said
    assert "NA say that it is missing" in said
    options = {"y": {"kind": "category", "spelling": "exact", "missing_words": []}}
    said = preprocess.run(config.model_copy(update={"kinds": options}), paths, task="classification")
    assert "capitals" not in said.get("beware", "")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"spelling": "folded"}, "did you mean 'fold'"), ({"missing_words": "NA"}, 'missing_words: \\["NA"\\]')],
)
def test_a_wrong_option_is_refused_with_its_place(options, says, project):
    (project / "t.csv").write_text(spelt(["cat", "dog"]))
    paths = Paths(project, "t")
    collect.run(collect.CollectConfig(uri="t.csv"), paths)
    config = PreprocessConfig(target="y", kinds={"y": {"kind": "category", **options}})
    with pytest.raises(DataError, match=says) as caught:
        preprocess.run(config, paths, task="classification")
    assert caught.value.place == "preprocess.kinds.y"


def test_files_and_requests_read_words_as_training_did():
    kind = kinds.find("category")
    raw = pa.array(["Pro", "pro ", "PRO", "team", "Team", "NA", "null", ""] * 3)
    options = kind.infer_options(raw, {"spelling": "fold"})
    column = kind.with_options(options).validate(raw)[0]
    fields = fit_inputs(pa.table({"plan": column}), {"plan": "category"}, "", {"plan": options})
    spec = FeatureSpec("classification", fields, fields["category"], "y", None, {})
    asked = ["PRO", "pro", "Team ", "n/a", None, "free"]
    in_file = spec.validate_table(pa.table({"plan": asked}))[0]
    in_request = spec.parse_request([{"plan": word} for word in asked], "request")
    assert in_file["plan"].to_pylist() == in_request["plan"].to_pylist() == ["pro", "pro", "team", None, None, "free"]
    codes = spec.encode(in_file, target=False)["category"][:, 0].tolist()
    assert codes[0] == codes[1]
    assert codes[3] == codes[4] != 0 == codes[5]


def test_models_of_before_read_words_as_they_did():
    field = kinds.find("category").fit({"plan": pa.array(["Pro", "NA", "pro", "NA", "Pro", "pro"])})
    old = {name: value for name, value in field.state.items() if name not in ("spelling", "missing_words")}
    reader = kinds.kind_of(dataclasses.replace(field, state=old))
    assert reader.validate(pa.array([" Pro", "NA", "pro", "cafe\u0301"]))[0].to_pylist() == [
        "Pro",
        "NA",
        "pro",
        "cafe\u0301",
    ]
