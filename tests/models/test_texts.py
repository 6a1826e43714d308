"""The linear anchor reads texts as TF-IDF, as scikit-learn does, and is as good."""

import dataclasses
import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from evergreen.data import fitting, kinds, spec
from evergreen.data.sources.python import docstrings
from evergreen.models.layers import TEXT_NORM, FlattenInputs
from evergreen.models.registry import build, find_architecture
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.feed import TensorFeed
from evergreen.models.training.trainer import Trainer
from evergreen.stages.validate.reference_models import fit_reference

PACKAGES = ("asyncio", "email", "logging", "multiprocessing", "unittest")


def split_texts(seed: int, count: int = 420) -> tuple[pa.Table, pa.Table]:
    rows = [row for row in docstrings().select(["text", "package"]).to_pylist() if row["package"] in PACKAGES]
    random.Random(seed).shuffle(rows)
    return pa.Table.from_pylist(rows[: count * 2 // 3]), pa.Table.from_pylist(rows[count * 2 // 3 : count])


def encode(train: pa.Table, *tables: pa.Table) -> tuple[spec.FeatureSpec, list[dict[str, np.ndarray]]]:
    inputs, target = fitting.fit(train, {"text": "text"}, "package", "category")
    made = spec.FeatureSpec("classification", inputs, target, "package", None, {})
    return made, [made.encode(table, target=True) for table in (train, *tables)]


@pytest.mark.slow
def test_linear_and_the_reference_are_as_good_as_tf_idf_with_logistic_regression():
    scores: dict[str, list[float]] = {"theirs": [], "linear": [], "reference": []}
    for seed in range(2):
        train, test = split_texts(seed)
        described, (seen, held_out) = encode(train, test)
        names = described.target.state["values"][0]

        def score(name: str, predicted: np.ndarray) -> None:
            scores[name].append(f1_score(held_out["target"], predicted, average="macro"))  # noqa: B023

        theirs = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
        said = theirs.fit(train["text"].to_pylist(), train["package"].to_pylist()).predict(test["text"].to_pylist())
        score("theirs", np.array([names.index(name) for name in said]))
        torch.manual_seed(0)
        network = build("linear", "classification", described.inputs, described.target)
        rows, others = ({name: torch.as_tensor(x) for name, x in side.items()} for side in (seen, held_out))
        recipe = TrainingConfig(**find_architecture("linear").DEFAULTS)
        Trainer(network, TensorFeed(rows, recipe.batch_size), others, recipe).run()
        score("linear", network.compute_outputs(others).argmax(1).numpy())
        found = fit_reference(described, seen, held_out)
        assert found is not None
        assert found[0] == "logistic regression on TF-IDF"
        score("reference", found[1].argmax(1))
    means = {name: np.mean(of) for name, of in scores.items()}
    assert means["linear"] >= means["theirs"] - 0.01, means
    assert means["reference"] >= means["theirs"] - 0.01, means


def test_what_is_rare_in_the_training_texts_weighs_more_and_what_they_lack_nothing():
    train = pa.table({"text": ["the cat sat", "the dog sat", "the cat ran", "the dog ran"], "package": list("abab")})
    described, (seen,) = encode(train)
    flat = FlattenInputs(described.inputs, ngrams=True)
    x = flat({"text ngrams": torch.as_tensor(seen["text ngrams"])})
    assert x.shape == (4, flat.width) == (4, 8192)
    torch.testing.assert_close(x.norm(dim=1), torch.full((4,), float(TEXT_NORM)))
    cat, the = (int(text_codes(described, word)[0]) - 1 for word in ("cat", "the"))
    assert x[0, cat] > x[0, the] > 0
    unknown = torch.as_tensor(text_codes(described, "zebra"))[None]
    assert flat({"text ngrams": unknown}).abs().sum() == 0


@pytest.mark.slow
def test_other_networks_and_older_data_read_tokens_as_before():
    train, _ = split_texts(0, 60)
    described, (seen,) = encode(train)
    field = described.inputs["text"]
    older = {
        "text": dataclasses.replace(field, state={name: x for name, x in field.state.items() if name != "further"})
    }
    tokens = {"text": torch.as_tensor(seen["text"])}
    counts = FlattenInputs(older)(tokens)
    assert torch.equal(FlattenInputs(described.inputs)(tokens), counts)
    assert torch.equal(FlattenInputs(older, ngrams=True)(tokens), counts)
    assert build("linear", "classification", older, described.target).architecture.out_features == field.sizes[0]


def text_codes(described: spec.FeatureSpec, word: str) -> np.ndarray:
    return kinds.find("text").encode_further(described.inputs["text"], [pa.array([word])])["ngrams"][0]
