"""Letters from sound: the decoding of a path, the distance of two texts, and a loss that knows no timing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from evergreen.models.metrics.edit_distance import edit_distance
from evergreen.models.tasks.speech import collapse_ctc_path


@pytest.fixture
def speech(network):
    return network("gru", "speech", ("audio",)).task


@pytest.mark.parametrize(
    ("path", "letters"),
    [
        ([4, 4, 0, 4, 5, 5, 0, 0, 6], [4, 4, 5, 6]),
        ([0, 0, 0], []),
        ([5], [5]),
        ([4, 0, 0, 4], [4, 4]),
    ],
)
def test_greedy_decoding_takes_out_repetitions_and_nothings(path, letters):
    assert collapse_ctc_path(path) == letters


def test_edits_are_counted_as_by_hand():
    said = ["kitten", "", "abc", "abc", "flaw", "x"]
    meant = ["sitting", "abc", "", "abc", "lawn", "xyz"]
    assert edit_distance(said, meant).tolist() == [3, 3, 3, 0, 2, 2]
    assert edit_distance([["one", "two"]], [["two"]]).tolist() == [1]


def test_error_rates_are_of_all_words_together(speech):
    tokens = torch.tensor([[4, 5, 3, 0, 0], [4, 4, 5, 3, 0]])  # ab, aab
    path = functional.one_hot(torch.tensor([[4, 0, 5, 0], [4, 5, 5, 0]]), 9).float()  # ab, ab
    facts = speech.metric_inputs(path, tokens)
    assert speech.metrics(*facts) == pytest.approx({"word_error_rate": 1 / 2, "character_error_rate": 1 / 5})
    assert speech.row_scores(*facts).tolist() == [0, 1]
    assert [row["prediction"] for row in speech.decode(path)] == ["ab", "ab"]


def test_the_loss_is_small_for_every_timing_of_the_right_letters(speech):
    target = torch.tensor([[4, 5, 3, 0, 0]])
    right, also, wrong = (
        float(speech.loss(12.0 * functional.one_hot(torch.tensor([path]), 9), target))
        for path in ([4, 5, 0, 0, 0], [0, 4, 4, 0, 5], [5, 4, 0, 0, 0])
    )
    assert max(right, also) < 0.1 < wrong


def test_the_baseline_says_the_commonest_transcript(speech):
    rows = {"audio": torch.zeros(2, 8, 4), "target": torch.tensor([[4, 3, 0, 0, 0]] * 2)}
    train = {"target": torch.tensor([[5, 5, 3, 0, 0], [4, 3, 0, 0, 0], [5, 5, 3, 0, 0]])}
    assert [row["prediction"] for row in speech.decode(speech.baseline(train, rows))] == ["bb", "bb"]
