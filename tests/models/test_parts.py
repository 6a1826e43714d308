"""Many rows are judged a few at a time: with the same result, and in little memory."""

from __future__ import annotations

import pytest
import torch

from evergreen.models import chunked
from evergreen.models.registry import build
from evergreen.stages.checking.sample_inputs import Field


@pytest.mark.parametrize(
    ("architecture", "task", "kinds", "target"),
    [
        ("mlp", "classification", ("number",), "category"),
        ("unet", "segmentation", ("image",), "mask"),
        ("unet", "detection", ("image",), "boxes"),
        ("gru", "tagging", ("text",), "tags"),
        ("mlp", "embedding", ("number",), "category"),
    ],
)
def test_in_parts_as_at_once(architecture, task, kinds, target, network, make, monkeypatch):
    made, rows = network(architecture, task, kinds, target, size=0.5), make(kinds, target, 23)
    loss, facts = made.evaluate(rows)
    monkeypatch.setattr(chunked, "ROWS", 5)
    assert [len(output) for _, output in chunked.iter_chunks(made.predict_outputs, rows)] == [5, 5, 5, 5, 3]
    again, in_parts = made.evaluate(rows)
    for one, other in zip(facts, in_parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    if target != "boxes":  # whose loss is a mean over the boxes of a batch
        assert again == pytest.approx(loss, rel=0.05)


def test_what_is_large_comes_in_few_rows():
    text = Field("text", (64,), (20_000,), {"values": [[f"w{n}" for n in range(19_996)]], "unit": "word"})
    made = build("tcn", "language_modelling", {"text": text}, text, size=0.1)
    tokens = torch.randint(4, 20_000, (24, 64))
    rows = {"text": tokens, "target": tokens}
    held = [output.numel() for _, output in chunked.iter_chunks(made.predict_outputs, rows)]
    assert max(held) <= chunked.NUMBERS
    assert sum(held) == 24 * 64 * 20_000
    loss, (bits, _) = made.evaluate(rows)
    assert len(bits) == 24
    assert loss == pytest.approx(float(bits.mean()) / 64 * 0.6931, rel=1e-3)


def test_a_loss_is_measured_as_answers_are_given(network, make):
    made, rows = network("mlp", "ranking", ("number",), "category", size=0.5), make(("number",), "category", 9)
    loss, _ = made.train().evaluate(rows)
    made.task.drawn = 2  # as where there are too many items to learn of all
    assert made.train().evaluate(rows)[0] == loss
    assert made.training
