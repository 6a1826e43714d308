"""What of a row speaks for its answer: sums that come out, exact values of linear models, else words."""

import asyncio

import httpx
import numpy as np
import pyarrow as pa
import pytest
import torch

from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages.artifacts import save_model
from evergreen.stages.deploy import attributions
from evergreen.stages.deploy.endpoint import Endpoint
from tests.stages.writers import SONG, save_writer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, random_model):
    folders = {}
    for name, kind, architecture in (
        ("sizes", "sizes", "linear"),
        ("deep", "sizes", "mlp"),
        ("digits", "digits", "cnn"),
        ("flat", "digits", "linear"),
        ("words", "words", "rnn"),
        ("photos", "photos", "linear"),
    ):
        random_model(kind, folder := tmp_path_factory.mktemp(name), 1, architecture)
        folders[name] = str(folder)
    save_prices(tmp_path_factory.mktemp("prices") / "model", folders)
    song = tmp_path_factory.mktemp("song")
    folders["song"] = save_writer(song, "language_modelling", "decoder", ("text", SONG), ("text", SONG), "bpe")
    entries = {name: {"version": "v1.0.0", "path": path, "limits": {}} for name, path in folders.items()}
    made = Endpoint()
    asyncio.run(made.reconfigure({"revision": "1", "hosts": ["here"], "pipelines": entries}))
    assert not made.failures
    return made


def save_prices(folder, folders):
    """A linear model of a number, with weights that are known."""
    random = np.random.default_rng(0)
    table = pa.table({"rooms": random.normal(3, 1, 40), "town": ["a", "b"] * 20, "price": random.normal(100, 20, 40)})
    inputs, target = fit(table, {"rooms": "number", "town": "category"}, "price", "number")
    spec = FeatureSpec("regression", inputs, target, "price", None, {"train": 40})
    torch.manual_seed(0)
    network = build("linear", spec.task, spec.inputs, spec.target)
    save_model(folder, network, {"architecture": "linear", "task": spec.task, "options": {}, "spec": spec.to_json()})
    folders["prices"] = str(folder)


def ask(endpoint, path, rows, **headers):
    async def send():
        transport = httpx.ASGITransport(endpoint.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, json={"rows": rows}, headers=headers)

    return asyncio.run(send())


def explanations(endpoint, name, rows):
    response = ask(endpoint, f"/{name}/predict?explain=1", rows)
    assert response.status_code == 200, response.text
    answers = response.json()["predictions"]
    plain = ask(endpoint, f"/{name}/predict", rows).json()["predictions"]
    assert [{key: value for key, value in one.items() if key != "explanation"} for one in answers] == plain
    return [one["explanation"] for one in answers], answers


def score(answer):
    """What is explained of an answer of classes."""
    logs = {name: np.log(share) for name, share in answer["probabilities"].items()}
    own = logs.pop(str(answer["prediction"]))
    return own - np.mean([*logs.values()])


@pytest.mark.parametrize("name", ["sizes", "deep"])
def test_what_columns_add_is_the_way_from_knowing_nothing_to_the_answer(endpoint, name):
    rows = [{"age": 0.9, "colour": "red"}, {"age": 0.1, "colour": "blue"}, {"age": None, "colour": "red"}]
    found, answers = explanations(endpoint, name, rows)
    (nothing,) = ask(endpoint, f"/{name}/predict", [{"age": None, "colour": None}]).json()["predictions"]
    for one, answer in zip(found, answers, strict=True):
        assert one["of"] == f"log-odds of {answer['prediction']}"
        assert set(one["columns"]) == {"age", "colour"}
        assert one["without"] + sum(one["columns"].values()) == pytest.approx(score(answer), abs=1e-4)
        assert abs(one["without"]) == pytest.approx(abs(score(nothing)), abs=1e-4)
    assert found[2]["columns"]["age"] == pytest.approx(0, abs=1e-6)


def test_a_linear_model_is_explained_exactly_in_the_data_s_units(endpoint):
    row = {"rooms": 5.0, "town": "b"}
    (found,), (answer,) = explanations(endpoint, "prices", [row])
    assert found["of"] == "price"
    assert found["without"] + sum(found["columns"].values()) == pytest.approx(answer["prediction"], abs=1e-3)
    for column, added in found["columns"].items():
        (without,) = ask(endpoint, "/prices/predict", [row | {column: None}]).json()["predictions"]
        assert added == pytest.approx(answer["prediction"] - without["prediction"], abs=1e-3)
    assert abs(found["columns"]["rooms"]) > 0.1


@pytest.mark.parametrize("name", ["digits", "flat"])
def test_cells_of_a_picture_add_up(endpoint, name):
    picture = np.random.default_rng(3).random((4, 4))
    (found,), (answer,) = explanations(endpoint, name, [{"image": picture.tolist()}])
    cells = np.array(found["cells"]["image"])
    assert cells.shape == (4, 4)
    assert found["without"] + cells.sum() == pytest.approx(score(answer), abs=0.05 if name == "digits" else 1e-4)
    if name == "flat":
        model = endpoint.served["flat"].model
        rows = model.spec.parse_request([{"image": picture.tolist()}], "")
        x_16 = model.spec.encode(rows, target=False)["image"].reshape(16)
        weights = next(one for one in model.network.task.parameters() if one.ndim == 2).detach().numpy()
        own = [*model.network.task.classes].index(answer["prediction"])
        others = np.delete(weights, own, axis=0).mean(axis=0)
        assert cells.reshape(16) == pytest.approx(x_16 * (weights[own] - others), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("words", "text is all that the model reads"),
        ("song", "answers with neither"),
    ],
)
def test_what_cannot_be_explained_says_so(endpoint, name, words):
    (found,), _ = explanations(endpoint, name, [endpoint.served[name].schema["example"]])
    assert found.startswith("not available: ")
    assert words in found


def test_what_is_asked_wrongly_is_refused(endpoint, monkeypatch):
    row = {"age": 0.9, "colour": "red"}
    assert "use 1" in ask(endpoint, "/sizes/predict?explain=maybe", [row]).json()["error"]
    csv = ask(endpoint, "/sizes/predict?explain=1", [row], accept="text/csv")
    assert (csv.status_code, "explanation" in csv.json()["error"]) == (400, True)
    assert "explanation" not in ask(endpoint, "/sizes/predict?explain=0", [row]).json()["predictions"][0]
    monkeypatch.setattr(attributions, "MAX_PASSES", 100)
    refused = ask(endpoint, "/sizes/predict?explain=1", [row] * 3)
    assert (refused.status_code, "send at most 2" in refused.json()["error"]) == (400, True)
