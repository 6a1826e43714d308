"""What a network makes of its inputs: the same for every batch size, in every form, and a fair opponent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.batches import arrays
from stages.artifacts import Paths, load_model
from stages.judging import features as judging


@pytest.fixture(scope="module")
def digits(candidates):
    paths = Paths(candidates, "digits")
    return load_model(paths.candidate), [arrays(paths.ready, split) for split in ("train", "validation", "test")]


def test_features_are_the_architectures_whatever_the_batches(digits, monkeypatch):
    model, (_, validation, _) = digits
    whole = judging.features(model.network, validation)
    monkeypatch.setattr(judging, "AT_ONCE", 7)
    np.testing.assert_allclose(judging.features(model.network, validation), whole, atol=1e-5)
    assert whole.shape == (len(validation["target"]), model.network.architecture.features)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 5, 4, 4)])
def test_every_form_becomes_one_vector_a_row(shape):
    x = torch.ones(shape)
    assert judging._pooled(x).tolist() == torch.ones(2, 5).tolist()


def test_the_svm_learns_and_answers_as_the_head_would(digits):
    model, (train, validation, test) = digits
    said = judging.svm(model.network, model.spec, train, validation, test)
    assert said.shape == (len(test["target"]), 10)
    np.testing.assert_allclose(np.exp(said).sum(axis=1), 1, atol=1e-6)
    assert (said.argmax(axis=1) == test["target"]).mean() > 0.97


def test_the_svm_leaves_other_tasks_and_many_rows_alone(digits, candidates, monkeypatch):
    model, (train, validation, test) = digits
    other = load_model(Paths(candidates, "diabetes").candidate)
    assert judging.svm(other.network, other.spec, train, validation, test) is None
    monkeypatch.setattr(judging, "MOST_ROWS", 10)
    assert judging.svm(model.network, model.spec, train, validation, test) is None
