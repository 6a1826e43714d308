"""What a network makes of its inputs: the same for every batch size, in every form, and a fair opponent."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import load_encoded_split
from evergreen.models import chunked, network
from evergreen.stages.artifacts import load_model
from evergreen.stages.validate import svm


@pytest.fixture(scope="module")
def digits(candidates):
    paths = Paths(candidates, "digits")
    return load_model(paths.candidate), [
        load_encoded_split(paths.ready, split) for split in ("train", "validation", "test")
    ]


def test_features_are_the_architectures_whatever_the_batches(digits, monkeypatch):
    model, (_, validation, _) = digits
    whole = model.network.compute_features(validation).numpy()
    monkeypatch.setattr(chunked, "ROWS", 7)
    np.testing.assert_allclose(model.network.compute_features(validation).numpy(), whole, atol=1e-5)
    assert whole.shape == (len(validation["target"]), model.network.architecture.out_features)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 5, 4, 4)])
def test_every_form_becomes_one_vector_a_row(shape):
    x = torch.ones(shape)
    assert network._pooled(x).tolist() == torch.ones(2, 5).tolist()


def test_the_svm_learns_and_answers_as_the_head_would(digits):
    model, (train, validation, test) = digits
    said = svm.fit_svm(model.network, model.spec, train, validation, test)
    assert said.shape == (len(test["target"]), 10)
    np.testing.assert_allclose(np.exp(said).sum(axis=1), 1, atol=1e-6)
    assert (said.argmax(axis=1) == test["target"]).mean() > 0.97


def test_the_svm_leaves_other_tasks_and_many_rows_alone(digits, candidates, monkeypatch):
    model, (train, validation, test) = digits
    other = load_model(Paths(candidates, "diabetes").candidate)
    assert svm.fit_svm(other.network, other.spec, train, validation, test) is None
    monkeypatch.setattr(svm, "MAX_ROWS", 10)
    assert svm.fit_svm(model.network, model.spec, train, validation, test) is None


def test_features_as_parquet_that_scikit_learn_learns_from(candidates, tmp_path):
    from sklearn.linear_model import LogisticRegression

    from evergreen.stages.predict.extract_features import extract_features

    paths, output = Paths(candidates, "digits"), tmp_path / "features.parquet"
    said = extract_features(paths, None, output)
    table = pq.read_table(output)
    assert said["rows"] == len(table) == 1797
    assert said["version"] == "candidate"
    split = np.array(table.column("split").to_pylist())
    x = np.stack([table.column(f"feature_{number}").to_numpy() for number in range(said["features"])], axis=1)
    y = np.array(table.column("target").to_pylist())
    model = LogisticRegression(max_iter=300).fit(x[split == "train"], y[split == "train"])
    assert model.score(x[split == "test"], y[split == "test"]) > 0.9


def test_features_of_a_files_rows_and_of_none_that_cannot_be_read(candidates, tmp_path):
    from evergreen.stages.predict.extract_features import extract_features

    paths, file = Paths(candidates, "diabetes"), tmp_path / "rows.csv"
    names = list(load_model(paths.candidate).spec.columns)
    file.write_text(",".join(names) + "\n" + ",".join("0.1" for _ in names) + "\n")
    assert extract_features(paths, file, tmp_path / "f.parquet")["rows"] == 1
    assert "target" not in pq.read_schema(tmp_path / "f.parquet").names
    file.write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")
    with pytest.raises(PipelineError, match="nothing was written"):
        extract_features(paths, file, tmp_path / "g.parquet")
    assert not (tmp_path / "g.parquet").exists()


def test_a_mistake_names_its_place(candidates, tmp_path):
    from evergreen.stages.predict.extract_features import extract_features

    with pytest.raises(PipelineError, match=r"\.parquet") as error:
        extract_features(Paths(candidates, "digits"), None, tmp_path / "features.csv")
    assert error.value.place == "--output"
