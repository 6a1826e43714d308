"""Text and tags: cut into every unit and put together again, known tokens, unknown ones, what a request may send."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data import kinds
from evergreen.data.field import TensorField
from evergreen.data.kinds import _tokenize as units
from evergreen.data.prepare import infer, suggest
from evergreen.data.prepare.check import separate_invalid_rows
from evergreen.data.sources import open_source
from evergreen.data.sources.python import tags as roles
from evergreen.data.sources.python import words

TEXTS = [
    "Hello wörld! 👩‍👩‍👧 it's  two\n lines 日本語",
    "a plain text, of (some) words",
    "a plain text, of (other) words",
]
text, tags = kinds.find("text"), kinds.find("tags")
HERE = Path(".")


def fitted(unit: str = "", texts: list = TEXTS, **options) -> TensorField:
    column, faults = text.validate(pa.array(texts))
    assert not faults
    return text.fit({"x": column}, unit=unit, **options)


@pytest.mark.parametrize("unit", ["byte", "bpe", "character"])
def test_every_unit_gives_the_text_back(unit):
    field = fitted(unit, target=True)
    encoded = text.encode(field, [pa.array(TEXTS)])
    assert encoded.shape == (3, *field.shape)
    assert encoded.max() < field.sizes[0]
    assert text.decode(field, encoded) == TEXTS
    assert TensorField.from_json(json.loads(json.dumps(field.to_json()))) == field


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
    values, longest = units.learn_vocabulary("bpe", ["low low low lower lowest"], 256 + 3)
    assert longest == len(units.tokenizer("bpe", values)("low low low lower lowest"))
    assert values[256:] == ["lo", "low", " low"]
    assert units.tokenizer("bpe", values)("low slow") == ["low", " ", "s", "low"]


@pytest.mark.slow
def test_pairs_are_joined_in_the_order_in_which_they_were_learned_and_a_long_word_is_cut_at_once():
    def joined_one_by_one(word, ranks):
        """Byte pair encoding as its paper has it: join the pair of the lowest rank wherever it is, again and again."""
        word = list(word)
        while pairs := [pair for pair in pairwise(word) if "".join(pair) in ranks]:
            word = units._joined(word, min(pairs, key=lambda pair: ranks["".join(pair)]))
        return word

    random = np.random.default_rng(0)
    for letters in ("ab", "abc", "abcdef"):
        texts = ["".join(random.choice(list(letters), 50)) for _ in range(20)]
        values, _ = units.learn_vocabulary("bpe", texts, 300)
        ranks = {value: rank for rank, value in enumerate(values)}
        for _ in range(100):
            word = "".join(random.choice(list(letters), random.integers(0, 60)))
            assert units.tokenizer("bpe", values)(word) == joined_one_by_one(word, ranks)
    assert len(units.tokenizer("bpe", values)("".join(random.choice(list(letters), 300_000)))) < 200_000


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
    scores = {kind: kinds.find(kind).detect(pa.array(column)) for kind in kinds.names()}
    assert (max(scores, key=scores.get) == "text" and scores["text"] > 0) == taken


def test_units_are_chosen_by_the_texts():
    assert fitted(texts=["12", "907", "7"]).state["unit"] == "character"
    assert fitted().state["unit"] == "word"


@pytest.mark.parametrize("value", ["", "  ", 5, ["a"], "half \ud800"])
def test_requests_that_are_no_text(value):
    with pytest.raises(DataError, match=r"give text|whole characters"):
        text.from_json(fitted(), 0, value)


@pytest.mark.parametrize("value", ["a b", [], ["a", ""], [1]])
def test_requests_that_are_no_words(value):
    with pytest.raises(DataError, match="list of words"):
        text.from_json(fitted(texts=[["a", "b", "a"]]), 0, value)


@pytest.mark.parametrize("sent", ["a plain text", ["a", "plain", "a"]])
def test_a_request_is_encoded_as_the_column_is(sent):
    field = fitted(texts=[sent, sent])
    asked = text.to_arrow(field, [text.from_json(field, 0, sent)])
    np.testing.assert_array_equal(text.encode(field, [asked]), text.encode(field, [pa.array([sent])]))
    assert text.from_json(field, 0, text.json_schema(field, 0)["example"])


def test_options_that_are_none():
    with pytest.raises(DataError, match="'letter' is not a unit of text; use character, byte, word, bpe"):
        fitted("letter")
    with pytest.raises(DataError, match="lists of words cannot be split into bytes"):
        fitted("byte", [["a", "a"]])


def test_tags_are_padded_and_unseen_ones_passed_over():
    column, faults = tags.validate(pa.array([["O", "B-X"], ["O"], [""], None]))
    assert list(faults) == [2]
    field = tags.fit({"t": column.slice(0, 2)}, target=True)
    encoded = tags.encode(field, [pa.array([["B-X"], ["O", "NEW"]])])
    assert encoded.tolist() == [[0, -100], [1, -100]]
    assert tags.decode(field, encoded) == [["B-X"], ["O"]]


def read(uri: str, root: Path = HERE) -> pa.Table:
    return pa.Table.from_batches(list(open_source(uri, root).read()))


@pytest.fixture
def folder(tmp_path):
    for name, content in (
        ("cats/a.txt", "a cat"),
        ("dogs/b.md", "ein Hündchen"),
        ("dogs/.hidden.txt", "no"),
        ("x.csv", "1"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    return tmp_path


def test_a_folder_of_texts_by_class(folder):
    found = read(".", folder).to_pylist()
    assert [(row["text"], row["label"], row["_origin"]) for row in found] == [
        ("a cat", "cats", "cats/a.txt"),
        ("ein Hündchen", "dogs", "dogs/b.md"),
    ]
    before = open_source(".", folder).fingerprint()
    (folder / "dogs/b.md").rename(folder / "cats/b.md")
    assert open_source(".", folder).fingerprint() != before


def test_a_corpus_in_stretches_in_order(folder):
    table = read("texts:.?characters=4", folder)
    assert table["text"].to_pylist() == ["a ca", "t", "ein ", "Hünd", "chen"]
    assert table["place"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["_origin"][3].as_py() == "dogs/b.md#4"
    assert read("cats/a.txt", folder)["text"].to_pylist() == ["a cat"]


@pytest.mark.parametrize("uri", ["texts:.?letters=4", "texts:.?characters=0", "texts:nothing", "python:poems"])
def test_texts_that_are_not_there(uri, folder):
    (folder / "nothing").mkdir()
    with pytest.raises(DataError, match=r"write \?characters|no file that ends in .txt or .md|known: docs"):
        read(uri, folder)


def test_what_python_carries():
    docs = "".join(read("python:docs")["text"].to_pylist())
    paragraphs = docs.split("\n\n")
    assert len(docs) > 300_000
    assert len(set(paragraphs)) == len(paragraphs)  # what is asked about was not learned from
    lines = read("python:tokens").to_pylist()
    assert all(len(row["words"]) == len(row["tags"]) for row in lines)
    numbers = read("python:numbers").to_pylist()
    assert len({row["number"] for row in numbers}) == len(numbers) == 8000


def test_numbers_in_words_and_names_in_lines():
    assert [words(number) for number in (0, 19, 40, 21, 100, 105, 1000, 1203, 999_999)] == [
        "zero",
        "nineteen",
        "forty",
        "twenty-one",
        "one hundred",
        "one hundred and five",
        "one thousand",
        "one thousand two hundred and three",
        "nine hundred and ninety-nine thousand nine hundred and ninety-nine",
    ]
    assert roles(["from", "os", ".", "path", "import", "join"]) == ["O", "B-MODULE", "I-MODULE", "I-MODULE", "O", "O"]
    assert roles(["import", "a", ".", "b", ",", "c"]) == ["O", "B-MODULE", "I-MODULE", "I-MODULE", "O", "B-MODULE"]
    assert roles(["def", "f", "(", "x", ")", ":", "a", ".", "b", "(", "x", ")"]) == [
        *("O", "B-DEFINED", "O", "O", "O", "O"),
        *("B-CALL", "I-CALL", "I-CALL", "O", "O", "O"),
    ]


def test_what_is_proposed_for_texts():
    corpus = pa.table({"text": [f"this is the sentence of number {i}" for i in range(40)], "place": list(range(40))})
    found = suggest.suggest_pipeline(corpus, "text")
    assert found["task"] == "language_modelling"
    assert found["preprocess"] == {"kinds": {"text": {"kind": "text", "unit": "character"}}, "time": "place"}
    pairs = corpus.drop_columns("place").append_column("other", corpus["text"])
    assert suggest.suggest_pipeline(pairs, "text")["task"] == "translation"
    labelled = corpus.drop_columns("place").append_column("label", pa.array(["a", "b"] * 20))
    assert suggest.suggest_pipeline(labelled, "label") == {
        "task": "classification",
        "because": "'label' holds 2 values: a, b",
        "kinds": {"text": "text"},
        "holds": {"text": ""},
        "time": "",
        "notes": [],
        "unsure": [],
    }


def test_a_row_with_more_tags_than_words_is_set_aside():
    rows = pa.table({"w": [["a", "b"], ["a"]] * 5, "t": [["O", "X"], ["O", "X"]] * 5, "_origin": ["f"] * 10})
    found = infer.infer_schema(rows, "t", "tags", given={"w": "text"})
    good, bad = separate_invalid_rows(rows, found)
    assert len(good) == 5
    assert set(bad["reason"].to_pylist()) == {"t: 2 tags for 1 words"}
