"""Text and tags: cut into every unit and put together again, known tokens, unknown ones, what a request may send."""

import json

import numpy as np
import pyarrow as pa
import pytest

from data import kinds, units
from data.field import DataError, Field

TEXTS = [
    "Hello wörld! 👩‍👩‍👧 it's  two\n lines 日本語",
    "a plain text, of (some) words",
    "a plain text, of (other) words",
]
text, tags = kinds.find("text"), kinds.find("tags")


def fitted(unit: str = "", texts: list = TEXTS, **options) -> Field:
    column, faults = text.check(pa.array(texts))
    assert not faults
    return text.fit({"x": column}, unit=unit, **options)


@pytest.mark.parametrize("unit", ["byte", "bpe", "character"])
def test_every_unit_gives_the_text_back(unit):
    field = fitted(unit, target=True)
    encoded = text.encode(field, [pa.array(TEXTS)])
    assert encoded.shape == (3, *field.shape)
    assert encoded.max() < field.sizes[0]
    assert text.decode(field, encoded) == TEXTS
    assert Field.from_json(json.loads(json.dumps(field.to_json()))) == field


@pytest.mark.parametrize("unit", ["byte", "bpe"])
def test_bytes_know_every_character(unit):
    field = fitted(unit, ["only plain letters here"])
    new = pa.array(["🦜 日本 ß"])
    assert text.decode(field, text.encode(field, [new])) == ["🦜 日本 ß"]


def test_words_come_back_but_for_the_spaces_between_them():
    field = fitted("word")
    rare, twice = text.decode(field, text.encode(field, [pa.array(["a  plain text, of (some) words", "words."])]))
    assert rare == "a plain text, of (�) words"  # a word that training rows hold once is unknown
    assert twice == "words �"


def test_unseen_characters_are_unknown():
    field = fitted("character", ["abc abd"])
    assert text.encode(field, [pa.array(["aXb"])])[0, :3].tolist() == [4, 1, 5]


def test_long_texts_are_cut_and_a_target_ends_where_it_fits():
    field = fitted("character", ["ab", "abc"], target=True)
    a, b, c = (4 + field.state["values"][0].index(letter) for letter in "abc")
    assert text.encode(field, [pa.array(["ab", "abc", "abcc"])]).tolist() == [[a, b, 3], [a, b, c], [a, b, c]]
    assert text.encode(fitted("character", ["ab", "abc"]), [pa.array(["ab"])]).tolist() == [[a, b, 0]]


def test_the_commonest_pairs_are_joined_first():
    values = units.learn("bpe", ["low low low lower lowest"], 256 + 3)
    assert values[256:] == ["lo", "low", " low"]
    assert units.cut("bpe", values)("low slow") == ["low", " ", "s", "low"]


@pytest.mark.parametrize(
    ("column", "taken"),
    [
        ([f"this is the sentence of number {i}" for i in range(40)], True),
        ([["the", "cat", "and", "the", "dog"], ["a", "bird"]] * 5, True),
        ([f"word {i}" for i in range(40)], False),
        ([f"A{i}-{i:04}-X" for i in range(40)], False),
        (["the very same sentence", "another one of that kind"] * 20, False),  # two values: a category
        ([["sea", "sky"], ["sky"]] * 5, False),
        ([1, 2], False),
    ],
)
def test_sentences_are_taken_as_text(column, taken):
    scores = {kind: kinds.find(kind).recognise(pa.array(column)) for kind in kinds.names()}
    assert (max(scores, key=scores.get) == "text" and scores["text"] > 0) == taken


def test_units_are_chosen_by_the_texts():
    assert fitted(texts=["12", "907", "7"]).state["unit"] == "character"
    assert fitted().state["unit"] == "word"


@pytest.mark.parametrize("value", ["", "  ", 5, None, ["a"], "half \ud800"])
def test_requests_that_are_no_text(value):
    with pytest.raises(DataError, match=r"give text|whole characters"):
        text.parse(fitted(), 0, value)


@pytest.mark.parametrize("value", ["a b", [], ["a", ""], [1], None])
def test_requests_that_are_no_words(value):
    with pytest.raises(DataError, match="list of words"):
        text.parse(fitted(texts=[["a", "b", "a"]]), 0, value)


@pytest.mark.parametrize("sent", ["a plain text", ["a", "plain", "a"]])
def test_a_request_is_encoded_as_the_column_is(sent):
    field = fitted(texts=[sent, sent])
    asked = text.arrow(field, [text.parse(field, 0, sent)])
    np.testing.assert_array_equal(text.encode(field, [asked]), text.encode(field, [pa.array([sent])]))
    assert text.parse(field, 0, text.json_schema(field, 0)["example"])


def test_options_that_are_none():
    with pytest.raises(DataError, match="no unit 'letter'; choose character, byte, word, bpe"):
        fitted("letter")
    with pytest.raises(DataError, match="lists of words are no bytes"):
        fitted("byte", [["a", "a"]])


def test_tags_are_padded_and_unseen_ones_passed_over():
    column, faults = tags.check(pa.array([["O", "B-X"], ["O"], [""], None]))
    assert list(faults) == [2]
    field = tags.fit({"t": column.slice(0, 2)}, target=True)
    encoded = tags.encode(field, [pa.array([["B-X"], ["O", "NEW"]])])
    assert encoded.tolist() == [[0, -100], [1, -100]]
    assert tags.decode(field, encoded) == [["B-X"], ["O"]]
