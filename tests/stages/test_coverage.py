"""Answers that say more: as wide as holds for a stated share of rows, that they abstain, the times of a forecast."""

import asyncio
import csv
import json

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evergreen.core.errors import UserError
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import load_model
from evergreen.stages.coverage import Coverage
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.endpoint import Endpoint
from evergreen.stages.deploy.forecast_times import add_times
from evergreen.stages.engines import versions
from evergreen.stages.predict.batch import predict
from evergreen.stages.validate.evaluation import write_predictions
from evergreen.stages.validate.evidence import collect_evidence

ARROW = "application/vnd.apache.arrow.stream"
SHARES = (0.5, 0.8, 0.9)


@pytest.fixture(scope="module")
def validated(candidates, tmp_path_factory):
    """Per pipeline its model, and the file of its answers to test rows as `validate` writes it."""
    found = {}
    for name in ("digits", "diabetes", "sunspots"):
        paths, file = Paths(candidates, name), tmp_path_factory.mktemp(name) / "predictions.parquet"
        evidence = collect_evidence(paths.candidate, paths.ready, None)
        write_predictions(file, evidence, evidence.truth(), evidence.candidate.answers())
        found[name] = (load_model(paths.candidate), file, evidence)
    return found


@pytest.mark.parametrize("share", SHARES)
def test_sets_of_classes_hold_as_often_as_is_said_and_no_oftener_than_they_must(validated, share):
    model, file, evidence = validated["digits"]
    coverage = Coverage.load(model.network.task, file)
    sets = [answer["set"] for answer in coverage.widen(evidence.candidate.answers(), share)]
    held = np.mean([true in one for true, one in zip(evidence.truth(), sets, strict=True)])
    assert share <= held < share + 2 / evidence.rows
    assert np.mean([len(one) for one in sets]) < 4


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", ["diabetes", "sunspots"])
def test_intervals_hold_as_often_as_is_said(validated, name, share):
    model, file, evidence = validated[name]
    answers = Coverage.load(model.network.task, file).widen(evidence.candidate.answers(), share)
    low, high = (np.array([answer[side] for answer in answers]) for side in ("low", "high"))
    actual = np.array(evidence.truth())
    held = ((low <= actual + 1e-4) & (actual <= high + 1e-4)).mean(0)
    assert (share <= held).all()
    assert (held < share + 3 / evidence.rows).all()


def test_rows_that_were_scored_in_another_way_are_no_evidence(validated, tmp_path):
    model, file, _ = validated["digits"]
    stored = pq.read_table(file)
    hits = pa.array((np.array(stored["actual"]) == np.array(stored["prediction"])).astype(float))
    older = stored.drop_columns("row_score").append_column("row_score", hits)
    pq.write_table(older, tmp_path / "older.parquet")
    assert Coverage.load(model.network.task, tmp_path / "older.parquet") is None


@pytest.fixture(scope="module")
def endpoint(validated, candidates):
    entries = {
        name: {
            "version": "v1.0.0",
            "path": str(Paths(candidates, name).candidate),
            "predictions": str(file) if name != "diabetes" else "",
            "limits": DeployConfig(abstain=0.9 if name == "digits" else 0).model_dump(),
        }
        for name, (_, file, _) in validated.items()
    }
    made = Endpoint()
    asyncio.run(made.reconfigure({"revision": "1", "hosts": [], "pipelines": entries}))
    assert not made.failures
    return made


def ask(endpoint, path, body, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            content = body if isinstance(body, bytes) else json.dumps(body)
            named = {"content-type": "application/json"} | {key.replace("_", "-"): one for key, one in headers.items()}
            return await client.post(path, content=content, headers=named)

    return asyncio.run(send())


def test_a_request_says_how_often_its_answer_is_to_hold_in_every_format(endpoint, validated):
    rows = validated["digits"][2].table.select(["image"]).slice(0, 30)
    some = [{"image": image} for image in rows["image"].combine_chunks().to_numpy_ndarray().tolist()]
    asked = [ask(endpoint, f"/digits/predict?coverage={share}", {"rows": some}) for share in (0.5, 0.99)]
    narrow, wide = (answer.json()["predictions"] for answer in asked)
    assert sum(len(one["set"]) for one in narrow) < sum(len(one["set"]) for one in wide)
    assert "set" not in ask(endpoint, "/digits/predict", {"rows": some}).json()["predictions"][0]
    lines = "".join(json.dumps(row) + "\n" for row in some).encode()
    answer = ask(endpoint, "/digits/predict?coverage=0.99", lines, content_type="application/x-ndjson", accept=ARROW)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table["set"].to_pylist() == [one["set"] for one in wide]
    assert table["abstains"].to_pylist() == [max(one["probabilities"].values()) < 0.9 for one in wide]
    assert {one["abstains"] for one in narrow} == {True, False}


@pytest.mark.parametrize(
    ("name", "share", "says"),
    [
        ("diabetes", "0.9", "v1.0.0 stores no answers to test rows"),
        ("digits", "1", "coverage is '1'; use a share of the rows, such as 0.9"),
        ("digits", "most", "coverage is 'most'"),
        ("digits", "nan", "coverage is 'nan'"),
        ("sunspots", "0.9999", "needs 9,999 answered test rows, and the release stores"),
    ],
)
def test_a_coverage_that_cannot_be_held_is_refused_in_a_line(endpoint, name, share, says):
    answer = ask(endpoint, f"/{name}/predict?coverage={share}", endpoint.served[name].schema["example"])
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_what_has_no_probability_cannot_abstain(endpoint, candidates):
    entry = {"version": "v1", "path": str(Paths(candidates, "diabetes").candidate)}
    made = Endpoint()
    limits = DeployConfig(abstain=0.5).model_dump()
    asyncio.run(made.reconfigure({"revision": "1", "pipelines": {"diabetes": {**entry, "limits": limits}}}))
    assert "deploy.abstain" in made.failures["diabetes"]


def test_a_forecast_says_the_years_that_it_answers_for(endpoint):
    row = endpoint.served["sunspots"].schema["example"]
    years = [*range(1990, 2002)]
    rows = [{**row, "year": years}, row]
    first, second = ask(endpoint, "/sunspots/predict?coverage=0.8", {"rows": rows}).json()["predictions"]
    assert first["times"] == [2002]
    assert first["low"] < first["prediction"] < first["high"]
    assert "times" not in second
    answer = ask(endpoint, "/sunspots/predict", {"rows": [{**row, "year": [1990, 1990]}]})
    assert answer.status_code == 422
    assert "row 0, its times" in answer.json()["error"]


@pytest.mark.parametrize(
    ("given", "next_two"),
    [
        (["2024-01-31", "2024-02-29"], ["2024-03-31", "2024-04-30"]),
        (["2024-10-01", "2024-11-01", "2024-12-01"], ["2025-01-01", "2025-02-01"]),
        (["2024-01-01", "2024-04-01", "2024-07-01"], ["2024-10-01", "2025-01-01"]),
        (["2024-02-27", "2024-02-28"], ["2024-02-29", "2024-03-01"]),
        (["2024-01-01T22:30:00", "2024-01-01T23:00:00"], ["2024-01-01T23:30:00", "2024-01-02T00:00:00"]),
        ([1.5, 2.0, 2.5], [3, 3.5]),
    ],
)
def test_times_go_on_as_they_came(given, next_two):
    assert add_times([{"prediction": [0.0, 0.0]}], [given])[0]["times"] == next_two


@pytest.mark.parametrize("given", [["2024-01-01"], ["2024-01-01", "soon"], [1, 2, 4], [3, 2, 1], "2024", [{}, {}]])
def test_times_that_cannot_go_on_are_refused(given):
    with pytest.raises(UserError, match="row 0, its times"):
        add_times([{"prediction": [0.0]}], [given])


def test_a_file_is_answered_as_wide_as_is_asked_for(validated, candidates, monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "released", lambda root: {"sunspots": "v1", "diabetes": "v1"})
    monkeypatch.setattr(versions, "checkout", lambda paths, version: paths.candidate)
    known = {"sunspots": validated["sunspots"][1], "diabetes": None}
    monkeypatch.setattr(versions, "checkout_predictions", lambda paths, version: known[paths.name])
    series = ["year,activity", *(f"{1700 + year},{20 + 5 * (year % 11)}" for year in range(30)), "1730,"]
    (tmp_path / "series.csv").write_text("\n".join(series) + "\n")
    widths = []
    for share in (0.5, 0.9):
        predict(Paths(candidates, "sunspots"), tmp_path / "series.csv", tmp_path / "out.csv", coverage=share)
        with (tmp_path / "out.csv").open() as file:
            last = [*csv.DictReader(file)][-1]
        widths.append(float(last["high"]) - float(last["low"]))
    assert 0 < widths[0] < widths[1]
    with pytest.raises(UserError, match="no answers to test rows"):
        predict(Paths(candidates, "diabetes"), tmp_path / "series.csv", tmp_path / "out.csv", coverage=0.9)
