"""Classes and labels: the losses are what they say, and metrics agree with scikit-learn's."""

from __future__ import annotations

import json

import pytest
import torch
from sklearn import metrics
from torch.nn import functional

from evergreen.core.errors import ModelError
from evergreen.models.metrics import ranking_curves
from evergreen.models.tasks.classification import Classification

CLASSES = {"values": [["no", "yes", "maybe"]], "counts": [[6, 2, 1]]}
LABELS = {"values": [["x", "y", "z"]], "counts": [[8, 2, 0]], "rows": 10}


@pytest.fixture
def head():
    """Make the task for three classes or three labels, of a kind and with options."""

    def made(kind: str = "category", **options) -> Classification:
        state = CLASSES if kind == "category" else LABELS
        field = type("Field", (), {"kind": kind, "shape": (3,), "sizes": (3,), "state": state})()
        return Classification(field, 4, **options)

    return made


@pytest.fixture
def answers():
    """Logits (40, 3), a class each, labels each."""
    torch.manual_seed(0)
    return torch.randn(40, 3) * 2, torch.randint(3, (40,)), torch.randint(2, (40, 3)).float()


def test_losses_are_torch_s(head, answers):
    z, y, has = answers
    torch.testing.assert_close(head().loss(z, y), functional.cross_entropy(z, y))
    torch.testing.assert_close(head("labels").loss(z, has), functional.binary_cross_entropy_with_logits(z, has))
    smooth = head(label_smoothing=0.2)
    torch.testing.assert_close(smooth.loss(z, y), functional.cross_entropy(z, y, label_smoothing=0.2))
    weighed = head(class_weights="balanced")
    assert weighed.weights.tolist() == [0.5, 1.5, 3.0]
    rows = functional.cross_entropy(z, y, weighed.weights, reduction="none")
    torch.testing.assert_close(weighed.loss(z, y), rows.mean())


@pytest.mark.parametrize("kind", ["category", "labels"])
def test_focal_loss_with_gamma_0_is_cross_entropy(head, answers, kind):
    z, target = answers[0], answers[1] if kind == "category" else answers[2]
    torch.testing.assert_close(head(kind, loss="focal", gamma=0).loss(z, target), head(kind).loss(z, target))


def test_focal_loss_passes_over_what_is_right_already(head):
    z, y = torch.tensor([[4.0, 0, 0], [0, 1.0, 0]]), torch.tensor([0, 0])
    p = z.softmax(1)[:, 0]
    torch.testing.assert_close(head(loss="focal", gamma=2).loss(z, y), (-((1 - p) ** 2) * p.log()).mean())
    sure = torch.tensor([[200.0, 0, 0]], requires_grad=True)
    head(loss="focal").loss(sure, y[:1]).backward()
    assert sure.grad.isfinite().all()


def test_balanced_labels_weigh_having_and_lacking_alike(head):
    task = head("labels", class_weights="balanced")
    torch.testing.assert_close(task.weights, torch.tensor([[0.625, 2.5], [2.5, 0.625], [5.0, 0.5]]))
    assert next(iter(task.METRICS)) == "log_loss"


def test_balanced_classes_are_answered_alike_at_their_real_probabilities(head, answers):
    z, y, _ = answers
    task = head(class_weights="balanced").eval()
    output = task.bend(z)  # z: what a network learns whose rows are weighted
    p = z.softmax(1) * torch.tensor([6, 2, 1.0])
    torch.testing.assert_close(output.softmax(1), p / p.sum(1, keepdim=True))
    torch.testing.assert_close(task.loss(output, y), task.train().loss(z, y))  # of what is learned, in either mode
    found = task.metrics(output, y)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, z.argmax(1)))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, output.double().softmax(1)))
    answers = task.decode(output)
    assert [answer["prediction"] for answer in answers] == [task.classes[k] for k in z.argmax(1).tolist()]
    assert answers[0]["probabilities"]["no"] == pytest.approx(float(output.softmax(1)[0, 0]))
    prior = task.baseline({"target": torch.tensor([0] * 6 + [1] * 2 + [2])}, {"target": y})
    assert task.decode(prior)[0]["prediction"] == "no"  # of classes that count alike the commonest


def test_balanced_labels_and_draws_are_bent_back_too(head, answers):
    z = answers[0]
    labels = head("labels", class_weights="balanced").eval()
    odds = labels.bend(z).exp() / z.exp()
    torch.testing.assert_close(odds[0], torch.tensor([0.625 / 2.5, 2.5 / 0.625, 5.0 / 0.5]).reciprocal())
    drawn = head().eval()
    drawn.correct_priors()  # each class was drawn equally often
    p = z.softmax(1) * torch.tensor([6, 2, 1.0])
    torch.testing.assert_close(drawn.bend(z).softmax(1), p / p.sum(1, keepdim=True))


@pytest.mark.parametrize("kind", ["category", "labels"])
def test_a_temperature_cools_what_is_too_sure(head, kind):
    torch.manual_seed(0)
    honest = torch.randn(4000, 3) * 2
    y = torch.multinomial(honest.softmax(1), 1)[:, 0] if kind == "category" else torch.bernoulli(honest.sigmoid())
    task = head(kind).eval()
    found = task.calibrate_probabilities(3 * honest, y)
    assert found["temperature"] == pytest.approx(3, rel=0.05)
    assert found["log_loss_after"] == pytest.approx(task.metrics(honest, y)["log_loss"], abs=0.01)
    assert found["log_loss_after"] < found["log_loss_before"] - 0.05
    torch.testing.assert_close(task.bend(3 * honest), 3 * honest / task.temperature)
    assert task.metrics(task.bend(3 * honest), y)["log_loss"] == pytest.approx(found["log_loss_after"])


def test_a_few_rows_that_are_all_right_prove_no_certainty(head):
    task, y = head().eval(), torch.arange(30) % 3
    found = task.calibrate_probabilities(functional.one_hot(y, 3).float(), y)
    assert 0.1 < found["temperature"] < 0.3  # of 31 rows half a one would be wrong
    sure = functional.one_hot(y, 3).float() * 20
    assert head().calibrate_probabilities(sure, y)["temperature"] == 1.0  # never worse on the rows themselves


def test_weights_stored_before_there_was_a_temperature_answer_as_they_did(head, answers):
    task = head(class_weights="balanced").eval()
    task.load_state_dict({name: value for name, value in task.state_dict().items() if name.startswith("head")})
    torch.testing.assert_close(task.bend(answers[0]), answers[0], rtol=0, atol=0)
    assert [answer["prediction"] for answer in task.decode(answers[0])] == [
        task.classes[place] for place in answers[0].argmax(1).tolist()
    ]


def test_a_coin_s_probabilities_lose_whatever_their_accuracy(head):
    from evergreen.models.training.history import History
    from evergreen.stages.trials.trial import Score

    torch.manual_seed(0)
    y = torch.randint(2, (500,))
    field = type("Field", (), {"kind": "category", "shape": (), "sizes": (2,), "state": {"values": [[0, 1]]}})()
    task, right = Classification(field, 4), functional.one_hot(y, 2).float()
    coin = task.metrics(right * 2e-3, y)
    useful = task.metrics(right + 0.9 * torch.randn(500, 2), y)
    assert coin["accuracy"] == 1 > useful["accuracy"]
    assert coin["log_loss"] > 0.69 > 0.5 > useful["log_loss"]
    history = History(task.METRICS)
    kept, left = ({"train_loss": 0.5, "validation_loss": loss} for loss in (1.0, 0.0))
    assert history.sort_key({**useful, **kept}) > history.sort_key({**coin, **left})
    metric, way = next(iter(task.METRICS.items()))
    assert Score(useful[metric], 1.0, 1, 1.0).better(Score(coin[metric], 0.0, 1, 1.0), way)
    assert Score(coin[metric], 0.0, 1, 1.0).better(Score(float("nan"), 0.0, 1, 1.0), way)


def test_metrics_of_many_labels_are_scikit_learn_s(head, answers):
    z, _, has = answers
    task, said = head("labels"), z > 0
    found = task.metrics(z, has)
    assert set(found) == set(task.METRICS)
    assert found["row_f1"] == pytest.approx(metrics.f1_score(has, said, average="samples", zero_division=1))
    assert found["f1"] == pytest.approx(metrics.f1_score(has, said, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(metrics.accuracy_score(has, said))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(has, z))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(has, z))
    assert found["log_loss"] == pytest.approx(float(task.row_scores(z, has).mean()))
    assert found["log_loss"] == pytest.approx(float(task.loss(z, has)))


def test_areas_of_tied_scores_are_scikit_learn_s():
    torch.manual_seed(0)
    score, has = (torch.randn(200, 3) * 2).round(), torch.rand(200, 3) < 0.2
    has[:, 2] = True
    area, precision = ranking_curves.roc_auc_and_average_precision(score, has)
    for k in (0, 1):
        assert float(area[k]) == pytest.approx(metrics.roc_auc_score(has[:, k], score[:, k]))
        assert float(precision[k]) == pytest.approx(metrics.average_precision_score(has[:, k], score[:, k]))
    assert area[2].isnan()
    assert ranking_curves.nanmean(area) == pytest.approx(float(area[:2].mean()))


def test_average_precision_of_two_classes_is_the_second_s():
    field = type("Field", (), {"kind": "category", "shape": (), "sizes": (2,), "state": {"values": [[False, True]]}})()
    torch.manual_seed(0)
    z, y = torch.randn(50, 2), torch.randint(2, (50,))
    found = Classification(field, 4).metrics(z, y)["average_precision"]
    assert found == pytest.approx(metrics.average_precision_score(y, z.softmax(1)[:, 1]), rel=1e-5)


def test_answers_name_all_labels_that_are_likely(head):
    (answer,) = json.loads(json.dumps(head("labels").decode(torch.tensor([[2.0, -1.0, 0.5]]))))
    assert answer["prediction"] == ["x", "z"]
    assert answer["probabilities"]["y"] == pytest.approx(0.2689, abs=1e-4)
    prior = head("labels").baseline({"target": torch.tensor([[1.0, 0, 0], [1, 1, 0]])}, {"target": torch.zeros(3, 3)})
    torch.testing.assert_close(prior.sigmoid(), torch.tensor([[1.0, 0.5, 0.0]] * 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "hinge"}, "cross_entropy or focal"),
        ({"class_weights": "even"}, "none or balanced"),
        ({"label_smoothing": 1}, "below 1"),
        ({"loss": "focal", "gamma": -1}, "0 or more"),
    ],
)
def test_wrong_options_are_named(head, options, said):
    with pytest.raises(ModelError, match=said):
        head(**options)


def test_weights_without_counts_are_refused():
    field = type("Field", (), {"kind": "category", "shape": (), "sizes": (2,), "state": {"values": [[0, 1]]}})()
    with pytest.raises(ModelError, match="preprocess again"):
        Classification(field, 4, class_weights="balanced")
