"""Text cut by the tokenizer of a pretrained model, which travels inside the spec."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.field import TensorField
from evergreen.data.kinds import find

tokenizers = pytest.importorskip("tokenizers")
TEXTS = ["a small test", "words of a test", "words"]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(TEXTS, tokenizers.trainers.WordLevelTrainer(special_tokens=special))
    ends = [(name, made.token_to_id(name)) for name in special[2:]]
    made.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    return folder


def fitted(source, **options):
    return find("tokens").fit({"text": pa.array(TEXTS)}, source=str(source), **options)


def test_the_numbers_are_the_tokenizers_and_one_more(source):
    own = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    field = fitted(source)
    assert field.shape == (6,)
    assert field.sizes == (own.get_vocab_size() + 1,)
    values = find("tokens").encode(field, [pa.array(TEXTS)])
    for row, text in zip(values.tolist(), TEXTS, strict=True):
        ids = [one + 1 for one in own.encode(text).ids]
        assert row == ids + [0] * (6 - len(ids))
    assert find("tokens").decode(field, values) == TEXTS


def test_a_long_text_is_cut_and_still_ends_as_the_model_knows_it(source):
    field = fitted(source, length=4)
    row = find("tokens").encode(field, [pa.array(["a a a a a a a"])])[0].tolist()
    assert len(row) == 4
    assert row[-1] == find("tokens").encode(field, [pa.array(["a"])])[0].tolist()[2]


def test_the_folder_is_no_longer_needed(source):
    field = TensorField.from_json(json.loads(json.dumps(fitted(source).to_json())))
    shutil.rmtree(source)
    assert find("tokens").encode(field, [pa.array(["words"])]).any()
    assert field.state["config"]["model_type"] == "bert"


def test_what_is_missing_is_said(source):
    with pytest.raises(DataError, match="`source` is missing"):
        find("tokens").fit({"text": pa.array(TEXTS)})
    (source / "config.json").unlink()
    with pytest.raises(DataError, match=r"holds no config\.json"):
        fitted(source)
