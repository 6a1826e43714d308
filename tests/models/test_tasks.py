"""Metrics against scikit-learn's, answers in the data's units, opponents as they should be."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from sklearn import metrics

from evergreen.core.errors import ModelError
from evergreen.models.registry import build, find_task, list_tasks


def head(name: str, state: dict, shape: tuple[int, ...] = ()):
    field = type("Field", (), {"kind": find_task(name).TARGETS[0], "shape": shape, "sizes": (), "state": state})()
    return find_task(name)(field, 3)


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_scores_as_scikit_learn(classes):
    torch.manual_seed(0)
    output = (torch.randn(60, classes) * 2).round()  # rounded, so that scores tie
    target = torch.randint(classes, (60,))
    p = output.double().softmax(1)
    found = head("classification", {"values": [list(range(classes))]}).metrics(output, target)
    area = metrics.roc_auc_score(target, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(target, output.argmax(1)))
    assert found["auc"] == pytest.approx(area)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(target, p), rel=1e-5)
    assert found["f1"] == pytest.approx(metrics.f1_score(target, output.argmax(1), average="macro"))


def test_regression_scores_in_the_data_s_units():
    torch.manual_seed(0)
    output, target = torch.randn(50), torch.randn(50)
    made = head("regression", {"mean": [100.0], "std": [7.0]})
    found, y, p = made.metrics(output, target), target * 7 + 100, output * 7 + 100
    assert found["r2"] == pytest.approx(metrics.r2_score(y, p), rel=1e-4)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p), rel=1e-4)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-4)
    assert made.row_scores(output, target).mean().sqrt() == pytest.approx(found["rmse"])
    assert made.decode(output)[0]["prediction"] == pytest.approx(float(p[0]))


def test_a_square_root_is_undone():
    made = head("forecasting", {"mean": [5.0], "std": [2.0], "transform": "sqrt"}, (1,))
    output, target = torch.tensor([[-3.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    assert [row["prediction"] for row in made.decode(output)] == [[0.0], [81.0]]
    assert made.metrics(output, target) == {"mse": (25**2 + 32**2) / 2, "mae": 28.5}
    with pytest.raises(ModelError, match="cube"):
        head("forecasting", {"mean": [0.0], "std": [1.0], "transform": "cube"}, (1,))


def test_the_opponents():
    wine = head("classification", {"values": [["red", "white"]]})
    prior = wine.baseline({"target": torch.tensor([0, 1, 1, 1])}, {"target": torch.tensor([0, 1])})
    torch.testing.assert_close(prior.exp(), torch.tensor([[0.25, 0.75]] * 2), atol=1e-5, rtol=0)
    price = head("regression", {"mean": [0.0], "std": [1.0]})
    assert price.baseline({"target": torch.tensor([1.0, 3.0])}, {"target": torch.zeros(2)}).tolist() == [2.0, 2.0]
    sun = head("forecasting", {"mean": [0.0], "std": [1.0]}, (2,))
    history = torch.tensor([[[1.0], [4.0]], [[2.0], [5.0]]])
    rows = {"history": history, "target": torch.zeros(2, 2)}
    assert sun.baseline({**rows, "target": history[:, -1].expand(2, 2)}, rows).tolist() == [[4.0] * 2, [5.0] * 2]


def test_answers_are_json_with_the_classes_themselves():
    made = head("classification", {"values": [[3, 7]]})
    (answer,) = json.loads(json.dumps(made.decode(torch.tensor([[0.0, 2.0]]))))
    assert answer["prediction"] == 7
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert list(answer["probabilities"]) == ["3", "7"]
    (answer,) = head("classification", {"values": [[False, True]]}).decode(torch.tensor([[0.0, 2.0]]))
    assert (answer["prediction"], list(answer["probabilities"])) == (True, ["false", "true"])


@pytest.mark.parametrize("name", list_tasks())
def test_every_task_says_its_direction_and_refuses_a_wrong_target(name):
    kind = find_task(name)
    assert set(kind.METRICS.values()) <= {"max", "min"}
    assert kind.__doc__
    with pytest.raises(ModelError, match="kind"):
        kind(type("Field", (), {"kind": "colour", "shape": (), "sizes": (), "state": {}})(), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture_name": "mpl"}, "did you mean 'mlp'"),
        ({"task_name": "clasification"}, "did you mean 'classification'"),
        ({"architecture_name": "cnn"}, "does not take inputs of kind number"),
        ({"drop_out": 0.1}, "did you mean 'dropout'"),
        ({"inputs": {}}, "no inputs"),
    ],
)
def test_mistakes_are_named(change, message, inputs):
    target = type("Field", (), {"kind": "category", "shape": (), "sizes": (2,), "state": {"values": [["a", "b"]]}})()
    right = {"architecture_name": "mlp", "task_name": "classification", "inputs": {"number": inputs["number"]}}
    with pytest.raises(ModelError, match=message):
        build(**{**right, "target": target, **change})


def test_metrics_see_an_improvement():
    torch.manual_seed(0)
    made, target = head("classification", {"values": [[0, 1, 2]]}), torch.randint(3, (90,))
    right = torch.nn.functional.one_hot(target, 3).float()
    scores = [made.metrics(right * pull + torch.randn(90, 3), target) for pull in (0, 1, 3, 10)]
    for worse, better in pairwise(scores):
        assert all((better[k] > worse[k]) == (way == "max") for k, way in made.METRICS.items())
