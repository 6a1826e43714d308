"""Several series and covariates, from the file to the forecast."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import evergreen
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import load_encoded_split, load_split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepare.suggest import suggest_pipeline
from evergreen.data.sources import open_source
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages.artifacts import load_model
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.engines import versions
from evergreen.stages.predict.batch import predict
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.validate.evidence import collect_evidence

DAYS = 120


def rows(days=range(DAYS), *, unknown=0):
    """Two shops; what they sell follows yesterday's advertising. The last `unknown` days have no sales yet."""
    for day in days:
        for shop, scale in (("north", 1.0), ("south", 3.0)):
            advertising = (day * 7 + len(shop)) % 5
            before = ((day - 1) * 7 + len(shop)) % 5
            sales = "" if day >= DAYS - unknown else f"{scale * (10 + before):.2f}"
            yield f"{np.datetime64('2024-01-01') + day},{shop},{advertising},{sales}"


def written(folder, lines, name="shops.csv"):
    (folder / name).write_text("\n".join(["day,shop,advertising,sales", *lines]) + "\n")
    return folder / name


def prepare(root, **wishes) -> Paths:
    paths = Paths(root, "shops")
    collect.run(CollectConfig(uri="shops.csv"), paths)
    told = {"target": "sales", "time": "day", "window": 3, "horizon": 2, "series_column": "shop", **wishes}
    preprocess.run(PreprocessConfig(**told), paths, task="forecasting")
    return paths


@pytest.fixture(scope="module")
def shops(tmp_path_factory, train):
    root = tmp_path_factory.mktemp("shops")
    written(root, rows())
    paths = prepare(root, covariates=["advertising"])
    train(paths, paths.candidate, epochs=30)
    return paths


@pytest.fixture
def ask(shops, monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "released", lambda root: {"shops": "v1.0.0"})
    monkeypatch.setattr(versions, "checkout", lambda paths, version: paths.candidate)

    def asked(lines):
        predict(shops, written(tmp_path, lines, "ask.csv"), tmp_path / "out.csv")
        with (tmp_path / "out.csv").open() as file:
            return list(csv.DictReader(file))

    return asked


def test_covariates_and_series_are_inputs(shops):
    spec, table = load_split(shops.ready, "train")
    assert {key: field.shape for key, field in spec.inputs.items()} == {"history": (3, 2), "category": (1,)}
    assert spec.inputs["history"].state["channels"] == ["sales", "advertising"]
    assert spec.inputs["history"].state["mean"][0] == spec.target.state["mean"][0]
    assert table["_time"].to_pylist() == sorted(table["_time"].to_pylist())
    first = table["history"].combine_chunks().to_numpy_ndarray()[0]
    assert first[:, 0].tolist() == [10 + ((day - 1) * 7 + 5) % 5 for day in range(3)]
    assert first[:, 1].tolist() == [(day * 7 + 5) % 5 for day in range(3)]
    batch = load_encoded_split(shops.ready, "train")
    assert np.abs(batch["history"].mean(axis=(0, 1))).max() < 0.1


def test_a_request_is_told_what_each_channel_is(shops):
    spec, table = load_split(shops.ready, "test")
    schema = spec.json_schema()
    assert "each step: sales, advertising" in schema["properties"]["history"]["description"]
    asked = spec.example_request(table)
    assert spec.encode(spec.parse_request([asked], "rows"), target=False)["history"].shape == (1, 3, 2)
    assert spec.parse_request([schema["example"]], "rows").num_rows == 1


def test_a_series_of_one_shop_never_reaches_into_another(tmp_path):
    written(tmp_path, [line for line in rows() if "south" not in line or "2024-01-1" in line])
    _, table = load_split(prepare(tmp_path).ready, "train")
    south = [row["history"] for row in table.select(["history", "shop"]).to_pylist() if row["shop"] == "south"]
    assert all(value >= 30 for values in south for value in values)
    assert len(south) == 10 - 3 - 1


def test_the_days_to_come_are_foretold_for_each_shop(ask):
    answers = ask(rows(unknown=2))
    last = [row for row in answers if not row["sales"]]
    truth = [float(line.rsplit(",", 1)[1]) for line in rows()][-4:]
    assert [float(row["prediction"]) for row in last] == pytest.approx(truth, abs=4)  # of 12 and of 36
    assert all(float(row["low"]) <= float(row["prediction"]) <= float(row["high"]) for row in last)
    assert [row["prediction"] for row in answers[:6]] == [""] * 6


def test_beyond_the_horizon_there_is_no_interval(ask):
    last = [row for row in ask(rows(unknown=4)) if row["shop"] == "north"][-4:]
    assert all(row["prediction"] for row in last)
    assert [bool(row["low"]) for row in last] == [True, True, False, False]


@pytest.mark.parametrize(("day", "says"), [("2024-05-09", "farther than known"), ("2024-04-29 02:00", "nearer than")])
def test_a_jump_in_the_days_to_come_is_refused(ask, day, says):
    with pytest.raises(ValueError, match=says) as caught:
        ask([*rows(), f"{day},north,1,"])
    assert f"#{2 * DAYS + 2}" in str(caught.value)


def test_a_model_without_covariates_still_scores(tmp_path, train):
    written(tmp_path, rows())
    paths = prepare(tmp_path)
    old = train(paths, tmp_path / "old", epochs=2)
    paths = prepare(tmp_path, covariates=["advertising"])
    train(paths, paths.candidate, epochs=2)
    found = collect_evidence(paths.candidate, paths.ready, ("v1", old))
    assert found.refusal == ""
    assert found.released.metrics()["mse"] > 0
    assert found.reference.name.startswith("AR(")


def test_a_candidate_s_spec_builds_every_reader(shops):
    spec = FeatureSpec.load(shops.ready)
    for name in ("linear", "mlp", "gru", "tcn"):
        network = build(name, "forecasting", spec.inputs, spec.target, {"quantiles": [0.1, 0.5, 0.9]})
        assert network.task.season == 0
    assert load_model(shops.candidate).network.task.margin.shape == (2,)


def test_several_series_are_seen_in_a_new_table(tmp_path):
    written(tmp_path, rows(range(20)))
    table = pa.Table.from_batches(list(open_source("shops.csv", tmp_path).read()))
    assert suggest_pipeline(table, "sales")["series_column"] == "shop"
    assert suggest_pipeline(table.filter(pc.equal(table["shop"], "north")), "sales")["series_column"] == ""


def test_a_frame_is_forecast_as_a_file_is(shops, ask):
    days, names, advertising, sales = zip(*(row.split(",") for row in rows(range(100, DAYS), unknown=1)), strict=True)
    known = [float(value) if value else None for value in sales]
    frame = {"day": days, "shop": names, "advertising": list(map(float, advertising)), "sales": known}
    found = evergreen.load(shops.candidate).predict(frame)
    from_file = [row["prediction"] for row in ask(rows(range(100, DAYS), unknown=1))]
    assert found.column("prediction").to_pylist() == [float(value) if value else None for value in from_file]
    with pytest.raises(PipelineError, match=r"the rows, row 3.*sales"):
        evergreen.load(shops.candidate).predict({**frame, "sales": ["1", "2", "3", "many"] + ["1"] * (len(days) - 4)})


def test_a_series_is_read_as_it_was_written_when_it_was_fitted(shops, ask, tmp_path):
    spec, _ = load_split(shops.ready, "train")
    assert spec.inputs["history"].state["written"] == {"sales": "1234.5", "advertising": "1234.5", "day": "iso"}
    lines = [*rows(unknown=1)]
    lines[3] = lines[3].rsplit(",", 1)[0] + ',"12,5"'
    with pytest.raises(PipelineError, match=r"sales: not a number written as 1234.5 \(got '12,5'\)"):
        ask(lines)
    as_germans_write = []
    for line in rows():
        day, shop, advertising, sales = line.split(",")
        as_germans_write.append(f'{day[8:]}.{day[5:7]}.{day[:4]},{shop},{advertising},"{sales.replace(".", ",")}"')
    written(tmp_path, as_germans_write)
    german, table = load_split(prepare(tmp_path).ready, "train")
    assert german.inputs["history"].state["written"] == {"sales": "1234,5", "day": "%d.%m.%Y"}
    assert table["history"][0].as_py() == pytest.approx([10 + ((day - 1) * 7 + 5) % 5 for day in range(3)])
