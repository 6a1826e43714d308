"""Losses, quantiles and intervals of numbers: each is what its name promises."""

import json

import pytest
import torch

from evergreen.core.errors import ModelError
from evergreen.models.registry import find_task
from evergreen.models.tasks._quantile import pinball
from evergreen.stages.checking.sample_inputs import SCALE, Field

ONE, THREE = Field("number", (), (), SCALE), Field("series", (3,), (), {**SCALE, "naive": 2.0})


def made(name: str = "regression", **options):
    return find_task(name)(ONE if name == "regression" else THREE, 4, **options)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_pinball_loss_is_least_at_the_quantile(level):
    torch.manual_seed(0)
    seen = torch.randn(999).exp()
    offers = seen.sort().values
    losses = [float(pinball(offer.expand(999, 1), seen, torch.tensor([level])).mean()) for offer in offers]
    assert losses.index(min(losses)) == pytest.approx(level * 999, abs=1)


@pytest.mark.parametrize(
    ("loss", "values", "right"),
    [("mse", [0, 1, 5], 2.0), ("mae", [0, 1, 5], 1.0), ("huber", [0, 0.5, 1, 5], 5 / 6)],
)
def test_what_a_loss_makes_right(loss, values, right):
    """The mean, the median, and Huber's between them, where the outlier pulls by one deviation."""
    job, seen = made(loss=loss), torch.tensor(values, dtype=torch.float32)
    offers = torch.linspace(0, 5, 501)
    losses = torch.stack([job.loss(offer.expand(len(seen)), seen) for offer in offers])
    assert float(offers[losses.argmin()]) == pytest.approx(right, abs=0.011)


@pytest.mark.parametrize("name", ["regression", "forecasting"])
@pytest.mark.parametrize("options", [{"interval": 0.8}, {"quantiles": [0.1, 0.5, 0.9]}])
def test_intervals_cover_what_they_promise(name, options):
    """On rows that the margin was not chosen by, whatever the network says; noise: 1500 rows, 0.8 ± 0.03."""
    torch.manual_seed(0)
    job = made(name, **options)
    x = torch.randn(3000, 4)
    target = (x[:, :1] + torch.randn(3000, 3 if name == "forecasting" else 1) * x[:, 1:2].abs()).squeeze(1)
    output = job(x).detach()
    job.margin.copy_(job.calibrate(output[:1500], target[:1500])["margin"])
    low, high = job.bounds(output[1500:])
    came = job.units(target[1500:])
    assert ((low <= came) & (came <= high)).double().mean(0) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("options", "metric"), [({}, ""), ({"loss": "mae"}, "mae"), ({"quantiles": [0.1, 0.9]}, "pinball")]
)
def test_what_is_asked_for_decides(options, metric):
    """The rows' scores are of the metric that decides, in the data's units; squared errors are, too, by their root."""
    torch.manual_seed(0)
    job, target = made(**options), torch.randn(50)
    output = job(torch.randn(50, 4)).detach()
    found, scores = job.metrics(output, target), job.row_scores(output, target)
    assert next(iter(found)) == next(iter(job.METRICS)) == (metric or "r2")
    assert float(scores.mean()) == pytest.approx(found[metric] if metric else found["rmse"] ** 2)
    assert len(job.row_scores(torch.zeros(50), target)) == 50  # a baseline may say one number alone


def test_a_number_is_expressed_as_another_task_says_it():
    """A version in service that was asked for quantiles is compared with a candidate of the mean, by squared errors."""
    one, old = made(), made(quantiles=[0.1, 0.5, 0.9])
    assert one.scores_like(made())
    assert not one.scores_like(old)
    old.units.mean, old.units.std = 5.0, 2.0
    output = torch.tensor([[-1.0, 0.5, 3.0]])
    assert one.units(one.align_output(output, old)).tolist() == [pytest.approx(6.0)]
    assert old.align_output(torch.zeros(1), one).shape == (1,)
    root = made()
    root.units.transform = "sqrt"
    value = torch.tensor([4.0, 9.0])
    torch.testing.assert_close(root.units(root.units.encode(value)).float(), value)


def test_a_small_validation_split_takes_its_largest_error():
    job = made(interval=0.9)
    margin = job.calibrate(torch.zeros(5), torch.tensor([0.1, -3.0, 0.2, 0.0, 1.0]))["margin"]
    assert float(margin) == 3.0


def test_answers_hold_the_interval_once_it_is_known():
    job = made("forecasting")
    output = torch.zeros(2, 3)
    assert job.decode(output)[0] == {"prediction": [10.0] * 3}
    job.margin.copy_(torch.tensor([0.5, 1.0, 2.0]))
    (answer, _) = json.loads(json.dumps(job.decode(output)))
    assert answer == {"prediction": [10.0] * 3, "low": [9.0, 8.0, 6.0], "high": [11.0, 12.0, 14.0]}
    assert made("forecasting", interval=0).calibrate(output, output) == {}


def test_quantiles_never_cross_and_are_named():
    job = made("forecasting", quantiles=[0.9, 0.1, 0.3, 0.7])
    output = job(torch.randn(50, 4)).detach()
    assert output.shape == (50, 3, 4)
    assert (output.diff(dim=-1) >= 0).all()
    answer = job.decode(output)[0]
    assert list(answer["quantiles"]) == ["0.1", "0.3", "0.7", "0.9"]
    assert answer["low"] == answer["quantiles"]["0.1"]
    assert set(job.metrics(output, torch.randn(50, 3))) == {"mse", "mae", "pinball", "mase"}


def test_weights_of_a_model_without_intervals_still_load():
    job = made()
    job.load_state_dict({name: value for name, value in job.state_dict().items() if name != "margin"})
    assert "low" not in job.decode(torch.zeros(1))[0]


def test_the_season_that_served_the_training_rows_is_the_opponent():
    time = torch.arange(200.0)
    wave = torch.stack([torch.sin(time * 2 * torch.pi / 7), torch.randn(200)], 1)  # the second channel is no series
    history = torch.stack([wave[start : start + 14] for start in range(150)])
    target = torch.stack([wave[start + 14 : start + 17, 0] for start in range(150)])
    rows = {"history": history, "target": target}
    torch.testing.assert_close(made("forecasting").baseline(rows, rows), target, atol=1e-4, rtol=0)
    last = made("forecasting", season=1).baseline(rows, rows)
    assert torch.equal(last, history[:, -1:, 0].expand(-1, 3))
    spread = made("forecasting", quantiles=[0.1, 0.5, 0.9]).baseline(rows, rows)
    assert spread.shape == (150, 3, 3)
    with pytest.raises(ModelError, match=r"season \(15 rows\) is longer than the window \(14\)"):
        made("forecasting", season=15).baseline(rows, rows)


def test_the_scaled_error_is_a_share_of_one_step_s():
    found = made("forecasting").metrics(torch.zeros(4, 3), torch.ones(4, 3))
    assert found["mase"] == pytest.approx(found["mae"] / 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hubert"}, "did you mean 'huber'"),
        ({"quantiles": [0.5, 0.5]}, "distinct fractions"),
        ({"quantiles": [0, 0.5]}, "between 0 and 1"),
        ({"interval": 1.0}, "a fraction such as 0.9"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ModelError, match=message):
        made(**options)
