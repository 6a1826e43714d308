"""Texts as words and pieces of words: the same numbers everywhere, the rare above the common."""

import json

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import fitting, kinds, spec
from evergreen.data.field import TensorField
from evergreen.data.kinds import _ngrams as ngrams

TEXTS = ["the quick brown fox jumps", "the lazy dog sleeps", "the quick dog jumps over the fox", "a fox and the dog"]
KIND = kinds.find("text")


def fitted(texts: list[str] = TEXTS, **options: int) -> TensorField:
    return KIND.fit({"says": pa.array(texts)}, **options)


def codes(field: TensorField, *texts: str | None) -> list[list[int]]:
    rows = KIND.encode_further(field, [pa.array(texts, pa.string())])["ngrams"].tolist()
    return [[code for code in row if code] for row in rows]


def test_the_numbers_of_a_text_never_change():
    state = {"shape": [9], "dtype": "int16", "rows": 1, "found": [0] * 8192}
    assert ngrams.encode_ngrams(state, ["Ein Test"]).tolist() == [[3177, 7693, 6177, 3459, 6151, 6963, 698, 4757, 7080]]


def test_a_text_has_its_numbers_whatever_stands_beside_it_and_however_it_is_written():
    field = fitted()
    together = codes(field, *TEXTS)
    assert together == [codes(field, text)[0] for text in TEXTS]
    assert codes(field, "THE  quick\tBrown fox jumps", "cafe\u0301 fox") == [together[0], codes(field, "café fox")[0]]
    assert codes(field, "", None, " ") == [[], [], []]


def test_words_that_share_pieces_share_numbers_and_words_come_first():
    field = fitted()
    one, other, third = map(set, codes(field, "jumping", "jumps", "zebra"))
    assert one & other
    assert not one & third
    words = codes(field, "the quick brown fox jumps")[0][:9]  # five words, four pairs
    cut = TensorField.from_json(json.loads(json.dumps(field.to_json())))
    cut.state["further"]["ngrams"]["shape"] = [9]
    assert codes(cut, "the quick brown fox jumps") == [words]


def test_a_word_that_is_repeated_says_more_but_not_in_proportion():
    field = fitted()
    often = codes(field, "fox fox fox fox")[0]
    assert often.count(codes(field, "fox")[0][0]) == 3


def test_the_state_counts_the_training_texts_of_each_bucket():
    state = fitted(ngrams=1 << 10).state["further"]["ngrams"]
    (the, fox) = (codes(fitted(ngrams=1 << 10), word)[0][0] for word in ("the", "fox"))
    assert (state["rows"], len(state["found"]), state["dtype"]) == (4, 1 << 10, "int16")
    assert state["found"][the - 1] == 4
    assert state["found"][fox - 1] == 3
    assert fitted(ngrams=1 << 16).state["further"]["ngrams"]["dtype"] == "int32"


def test_lists_of_words_are_read_as_words():
    listed = KIND.fit({"says": pa.array([text.split() for text in TEXTS])})
    rows = KIND.encode_further(listed, [pa.array([text.split() for text in TEXTS])])["ngrams"]
    assert [[code for code in row if code] for row in rows.tolist()] == codes(fitted(), *TEXTS)


@pytest.mark.parametrize("options", [{"ngrams": 0}, {"target": True}])
def test_they_can_be_left_out_and_targets_have_none(options):
    field = KIND.fit({"says": pa.array(TEXTS)}, **options)
    assert "further" not in field.state
    assert KIND.encode_further(field, [pa.array(TEXTS)]) == {}


def test_the_spec_encodes_them_beside_the_tokens_and_counts_their_bytes():
    table = pa.table({"says": TEXTS, "kind": ["a", "b", "a", "b"]})
    inputs, target = fitting.fit(table, {"says": "text"}, "kind", "category")
    made = spec.FeatureSpec("classification", inputs, target, "kind", None, {})
    encoded = spec.FeatureSpec.from_json(json.loads(json.dumps(made.to_json()))).encode(table, target=True)
    assert list(encoded) == ["says", "says ngrams", "target"]
    assert inputs["says"].row_bytes == encoded["says"][0].nbytes + encoded["says ngrams"][0].nbytes
    assert encoded["says ngrams"].dtype == np.int16


@pytest.mark.parametrize("buckets", [-1, 10**12])
def test_a_number_of_buckets_that_no_memory_holds_is_refused(buckets):
    with pytest.raises(DataError, match=f"preprocess.kinds.says: ngrams is {buckets}"):
        fitted(ngrams=buckets)
