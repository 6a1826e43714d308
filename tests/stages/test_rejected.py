"""Batch prediction of rows that are not like those of training: counted, filled, or set aside with their reason."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from evergreen.cli.commands.predict import format_predictions
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data import kinds, prepared
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages.artifacts import save_model
from evergreen.stages.engines import versions
from evergreen.stages.predict.batch import predict

KINDS = {"plan": "category", "months": "number", "prediction": "number"}


@pytest.fixture
def ask(candidates, monkeypatch, tmp_path):
    """Asks the candidate of a pipeline as if it were released: "churn" of plan and months, "odd" of prediction too."""
    folder = tmp_path / "models"
    for name, columns in (("churn", ["plan", "months"]), ("odd", ["plan", "prediction"])):
        values = {"plan": ["basic", "pro", "team", "pro"] * 10, "months": [1.5, 20.0, 40.0, 59.0] * 10}
        values["prediction"] = values["months"]
        raw = {column: kinds.find(KINDS[column]).validate(pa.array(values[column]))[0] for column in columns}
        table = pa.table({**raw, "churned": ["yes", "no"] * 20})
        inputs, target = fit(table, {column: KINDS[column] for column in columns}, "churned", "category")
        spec = FeatureSpec("classification", inputs, target, "churned", None, {"train": 40})
        torch.manual_seed(0)
        network = build("linear", spec.task, spec.inputs, spec.target)
        card = {"architecture": "linear", "task": spec.task, "options": {}, "spec": spec.to_json()}
        save_model(folder / name, network, card)
    known = {name: folder / name for name in ("churn", "odd")}
    known |= {name: Paths(candidates, name).candidate for name in ("sunspots", "digits")}
    monkeypatch.setattr(versions, "released", lambda root: dict.fromkeys(known, "v1.0.0"))
    monkeypatch.setattr(versions, "checkout", lambda paths, version: known[paths.name])

    def asked(lines, output="out.csv", *, name="churn", **options):
        source = tmp_path / "in.csv"
        source.write_text("\n".join(lines) + "\n")
        return predict(Paths(candidates, name), source, tmp_path / output, **options)

    return asked


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


SIX = [
    "account,plan,months,churned",
    *(f"A{number},{plan},5,no" for number, plan in enumerate(["TEAM", "PRO", "PRO"] * 2)),
]


def test_unseen_values_are_counted_and_said(ask, tmp_path):
    value = ask(SIX)
    lines = format_predictions(value).splitlines()
    assert "plan: 6 of 6 values were never seen (PRO …; did you mean pro?)" in lines
    assert "1 column, which the model does not read, was ignored: account" in lines
    assert len(lines) == 3
    finding = {"column": "plan", "what": "never seen", "values": 6, "example": "PRO", "hint": "pro"}
    assert value["unusual"] == [finding]
    assert value["ignored"] == {"account": 6}
    assert json.dumps(value)
    assert read(tmp_path / "out.csv")[0].keys() == {
        "account",
        "plan",
        "months",
        "churned",
        "prediction",
        "p_no",
        "p_yes",
    }


def test_a_missing_value_does_not_stop_a_file(ask, tmp_path):
    value = ask(["plan,months", "pro,", ",12", "basic,70", "pro,n/a"])
    assert value["notes"] == [
        "plan: 1 of 4 values was missing and taken as the commonest value, pro",
        "months: 2 of 4 values were missing and filled by the training median, 30",
        "months: 1 of 4 values was outside the training range, 1.5 to 59 (70)",
    ]
    answers = [row["p_yes"] for row in read(tmp_path / "out.csv")]
    ask(["plan,months", "pro,30", "pro,12", "basic,70", "pro,30"])
    assert answers == [row["p_yes"] for row in read(tmp_path / "out.csv")]


def test_many_columns_are_few_lines(ask):
    value = ask(SIX)
    value["notes"] = [f"c{number}: 1 of 6 values was never seen" for number in range(2000)]
    lines = format_predictions(value).splitlines()
    assert len(lines) == 22
    assert "1,980 more" in lines[-1]


BAD = ["plan,months", "pro,3", "pro,soon", "basic,5,6", "=cmd|'/c calc'!A0,1e40", "team,9"]


def test_the_first_bad_row_stops_a_file(ask, tmp_path):
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(
        PipelineError, match=r"in\.csv#3: months: not a number \(got 'soon'\); .*--on-error skip; nothing was written"
    ):
        ask(BAD)
    assert (tmp_path / "out.csv").read_text() == "before"
    assert not list(tmp_path.glob("*rejected*"))


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_bad_rows_are_set_aside_with_their_reason(ask, tmp_path, output):
    value = ask(BAD, output, on_error="skip")
    assert (value["rows"], value["rejected"]) == (2, 3)
    assert value["rejected_file"] == str(tmp_path / f"{output}.rejected.csv")
    rejected = read(tmp_path / f"{output}.rejected.csv")
    assert [row["row"] for row in rejected] == ["in.csv#3", "in.csv#4", "in.csv#5"]
    assert [row["plan"] for row in rejected] == ["pro", "", "'=cmd|'/c calc'!A0"]
    assert [row["reason"].partition(":")[0] for row in rejected] == ["months", "3 fields where 2 belong", "months"]
    assert rejected[1]["reason"].endswith("basic,5,6")
    answered = tmp_path / output
    kept = pq.read_table(answered).to_pylist() if answered.suffix == ".parquet" else read(answered)
    assert [(row["plan"], float(row["months"])) for row in kept] == [("pro", 3.0), ("team", 9.0)]
    assert all(row["prediction"] in ("yes", "no") for row in kept)
    assert f"3 rows could not be answered; why: {tmp_path / output}.rejected.csv" in format_predictions(value)
    alone = ask(["plan,months", "pro,3", "team,9"], "alone.csv")
    assert alone["rejected_file"] is None
    assert [row["p_yes"] for row in read(tmp_path / "alone.csv")] == [str(row["p_yes"]) for row in kept]


def test_a_file_without_bad_rows_leaves_no_rejected_ones_of_before(ask, tmp_path):
    ask(BAD, on_error="skip")
    assert ask(BAD[:2], on_error="skip")["rejected"] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", "out.csv", "models"}


def test_where_no_row_can_be_answered_only_the_reasons_are_written(ask, tmp_path):
    with pytest.raises(PipelineError, match=r"none of the 2 rows can be answered; .*out\.csv\.rejected\.csv says why"):
        ask(["plan,months", "pro,soon", "pro,later"], on_error="skip")
    assert len(read(tmp_path / "out.csv.rejected.csv")) == 2
    assert not (tmp_path / "out.csv").exists()


def test_rejected_rows_that_were_mended_can_be_asked(ask, tmp_path):
    ask(BAD, on_error="skip")
    rows = read(tmp_path / "out.csv.rejected.csv")
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerow({**rows[0], "months": "4"})
    assert ask(text.getvalue().splitlines(), "again.csv")["ignored"] == {"row": 1, "reason": 1}


def test_a_column_called_reason_stays_the_persons(ask, tmp_path):
    ask(["plan,months,reason", "pro,soon,mine", "pro,3,mine"], on_error="skip")
    (row,) = read(tmp_path / "out.csv.rejected.csv")
    assert (row["reason"], row["rejected_reason"], row["rejected_row"]) == (
        "mine",
        "months: not a number (got 'soon')",
        "in.csv#2",
    )


def test_the_rejected_rows_are_not_written_over_while_they_are_read(ask, tmp_path, candidates):
    source = tmp_path / "out.csv.rejected.csv"
    source.write_text("plan,months\npro,3\n")
    with pytest.raises(PipelineError, match=r"input file.*name another file"):
        predict(Paths(candidates, "churn"), source, tmp_path / "out.csv", on_error="skip")
    assert source.read_text() == "plan,months\npro,3\n"


def test_an_input_called_prediction_keeps_its_column(ask, tmp_path):
    value = ask(["plan,prediction", "pro,3", "basic,4"], name="odd")
    rows = read(tmp_path / "out.csv")
    assert [row["prediction"] for row in rows] == ["3", "4"]
    assert value["answers"] == ["answer_prediction", "answer_p_no", "answer_p_yes"] == list(rows[0])[2:]
    assert {row["answer_prediction"] for row in rows} <= {"yes", "no"}
    assert "answer_prediction, answer_p_no, answer_p_yes" in format_predictions(value)
    again = ask((tmp_path / "out.csv").read_text().splitlines(), "again.csv", name="odd")
    assert again["answers"][0] == "answer_answer_prediction"


def test_a_missing_picture_is_set_aside(ask, tmp_path, candidates):
    table = prepared.read(Paths(candidates, "digits").ready, "test").select(["image"]).slice(0, 4)
    pq.write_table(table.take(pa.array([0, None, 2, 3])), tmp_path / "images.parquet")
    value = predict(Paths(candidates, "digits"), tmp_path / "images.parquet", tmp_path / "out.csv", on_error="skip")
    assert (value["rows"], value["rejected"]) == (3, 1)
    (row,) = read(tmp_path / "out.csv.rejected.csv")
    assert row == {"image": "", "row": "images.parquet#1", "reason": "image: missing"}


YEARS = [f"{1700 + year},{20 + 5 * (year % 11)}" for year in range(30)]


def test_a_bad_value_of_a_series_is_set_aside_and_keeps_its_place_in_time(ask, tmp_path):
    lines = ["year,activity,note", *(f"{row},x" for row in YEARS), "1730,,x", "soon,4,x"]
    lines[6] = "1705,many,x"
    value = ask(lines, name="sunspots", on_error="skip")
    rejected = read(tmp_path / "out.csv.rejected.csv")
    assert [(row["year"], row["reason"]) for row in rejected] == [
        ("1705", "activity: not a number"),
        ("soon", "year: not a number"),
    ]
    rows = read(tmp_path / "out.csv")
    assert [row["year"] for row in rows] == [str(year) for year in range(1700, 1731) if year != 1705]
    assert [row["year"] for row in rows if row["prediction"]] == [str(year) for year in range(1718, 1731)]
    assert value["unanswered"] == 17
    assert "17 rows have no prediction" in format_predictions(value)
    assert value["ignored"] == {"note": 30}
