"""A candidate is judged on rows it has never seen, against all who can answer them. Real data, real small models."""

import json
import re
import shutil

import numpy as np
import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import load_encoded_split, load_split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.pages.wording import percent
from evergreen.stages.artifacts import folder_version, load_model
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evidence import PairedDifference, collect_evidence
from evergreen.stages.validate.stage import released, run, validate
from evergreen.stages.validate.statistics import Estimate
from evergreen.stages.validate.verdict import more_rows

FAST = ValidateConfig(bootstrap_samples=200)
PIPELINES = ["breast_cancer", "diabetes", "digits", "sunspots"]


@pytest.fixture(scope="module")
def root(candidates):
    return candidates


@pytest.fixture(scope="module")
def weak(root, train, tmp_path_factory):
    """A digits model that was stopped far too early."""
    return train(Paths(root, "digits"), tmp_path_factory.mktemp("weak") / "model", epochs=1, seed=3)


def read(paths: Paths):
    return json.loads((paths.metrics).read_text())


def test_a_provisional_choice_is_for_a_person_to_release(root, tmp_path):
    paths = Paths(tmp_path, "digits")
    shutil.copytree(Paths(root, "digits").ready, paths.ready)
    shutil.copytree(Paths(root, "digits").candidate, paths.candidate)
    card = json.loads((paths.candidate / "model.json").read_text())
    write_json(paths.candidate / "model.json", {**card, "provisional": "its plan was cut off"})
    summary = validate(FAST, paths, released=None)
    assert summary["verdict"] == "ask"
    assert "The choice is provisional (its plan was cut off), so a person decides." in summary["why"]


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.slow
def test_a_first_version_is_judged_against_the_baseline(root, name):
    paths = Paths(root, name)
    summary, metrics = validate(FAST, paths, released=None), read(paths)
    _, table = load_split(paths.ready, "test")
    assert summary["verdict"] == metrics["verdict"] == "release"
    assert metrics["rows"] == table.num_rows
    assert f"{metrics['rows']} test rows" in metrics["why"]
    assert metrics["difference"]["baseline"]["low"] > 0
    assert "released" not in metrics
    for found in metrics["test"].values():
        assert found["low"] <= found["value"] <= found["high"]
        assert found["low"] < found["high"] or found["value"] == 1.0  # a perfect score has no spread
    named = json.loads((paths.evaluation / "evidence.json").read_text())["read"]
    assert named["candidate"] == folder_version(paths.candidate)  # so the report depends on it through the evidence
    first = folder_version(paths.evaluation)
    validate(FAST, paths, released=None)
    assert folder_version(paths.evaluation) == first  # the same inputs, the same bytes
    other = validate(ValidateConfig(bootstrap_samples=100), paths, released=None)
    assert other["verdict"] == "release"
    again = json.loads((paths.evaluation / "evidence.json").read_text())["read"]
    assert again["candidate"] == named["candidate"]
    assert again["metrics"] != named["metrics"]


def test_outside_git_there_is_no_released_version(root):
    paths = Paths(root, "digits")
    assert released(paths) is None
    assert run(FAST, paths, task="classification")["verdict"] == "release"


def test_scores_are_those_of_the_model(root):
    paths = Paths(root, "digits")
    model, (_, table) = load_model(paths.candidate), load_split(paths.ready, "test")
    said = [answer["prediction"] for answer in model.predict(table)]
    truth = [int(value) for value in table["digit"].to_pylist()]
    validate(FAST, paths, released=None)
    assert read(paths)["test"]["accuracy"]["value"] == pytest.approx(np.mean(np.equal(said, truth)))


def test_the_simple_models_are_what_sklearn_and_least_squares_give(root):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    digits, sunspots = Paths(root, "digits"), Paths(root, "sunspots")
    evidence = collect_evidence(digits.candidate, digits.ready, None)
    fitted = [load_encoded_split(digits.ready, split) for split in ("train", "validation", "test")]
    images = [part["image"].reshape(len(part["image"]), -1) for part in fitted]
    scaler = StandardScaler().fit(np.concatenate(images[:2]))
    model = LogisticRegression(max_iter=500)
    model.fit(scaler.transform(np.concatenate(images[:2])), np.concatenate([part["target"] for part in fitted[:2]]))
    accuracy = model.score(scaler.transform(images[2]), fitted[2]["target"])
    assert evidence.reference.metrics()["accuracy"] == pytest.approx(accuracy, abs=0.006)
    series = collect_evidence(sunspots.candidate, sunspots.ready, None)
    assert series.reference.name == "AR(9)"  # what Yule's successors chose for this series
    assert series.reference.metrics()["mse"] < series.baseline.metrics()["mse"] / 2
    assert (evidence.block, series.block) == (1, 5)  # neighbouring years resemble each other, images do not


def test_slices_of_time_are_scored_apart(root):
    paths = Paths(root, "sunspots")
    slices = {"1921–1955": [1921, 1955], "1956–1979": [1956, 1979]}
    validate(FAST.model_copy(update={"slices": slices}), paths, released=None)
    found = read(paths)["slices"]
    assert [found[name]["rows"] for name in slices] == [35, 24]
    assert found["1921–1955"]["baseline"]["mse"] / 1535 == pytest.approx(0.416, abs=0.005)  # Weigend et al. 1990
    assert found["1956–1979"]["baseline"]["mse"] / 1535 == pytest.approx(0.940, abs=0.005)
    with pytest.raises(PipelineError, match="no test row lies in 'old'; the test rows span 1921"):
        validate(FAST.model_copy(update={"slices": {"old": [1800, 1850]}}), paths, released=None)
    with pytest.raises(PipelineError, match="no column is named as time"):
        validate(FAST.model_copy(update={"slices": slices}), Paths(root, "digits"), released=None)


def test_a_better_candidate_replaces_the_released_one(root, weak):
    paths = Paths(root, "digits")
    summary = validate(FAST, paths, released=("v1.0.0", weak))
    metrics = read(paths)
    assert summary["verdict"] == "release"
    assert "better than the released v1.0.0" in summary["why"]
    assert metrics["released"]["version"] == "v1.0.0"
    assert metrics["difference"]["released"]["test"] == "paired bootstrap"
    assert metrics["difference"]["released"]["metric"] == "log_loss"
    assert metrics["difference"]["released"]["mine"] == pytest.approx(metrics["test"]["log_loss"]["value"])
    assert metrics["difference"]["released"]["hits"][0] == pytest.approx(metrics["test"]["accuracy"]["value"])
    assert re.search(r"log-loss [\d.]+ against [\d.]+, ahead by .* of the rows right against", summary["why"])
    assert metrics["difference"]["released"]["p"] < 0.05


@pytest.mark.slow
def test_a_worse_candidate_or_the_same_one_is_kept_back(root, weak, tmp_path):
    digits = Paths(root, "digits")
    worse = Paths(tmp_path, "digits")
    worse.ready.parent.mkdir(parents=True)
    worse.ready.symlink_to(digits.ready)
    worse.candidate.parent.mkdir(parents=True)
    worse.candidate.symlink_to(weak)
    summary = validate(FAST, worse, released=("v1.1.0", digits.candidate))
    assert summary["verdict"] == "keep"
    assert "worse than the released v1.1.0" in summary["why"]
    same = validate(FAST, worse, released=("v1.0.0", weak))
    assert same["verdict"] == "keep"
    assert "exactly as the released v1.0.0" in same["why"]


@pytest.mark.slow
def test_an_equal_candidate_needs_more_rows_unless_not_worse_is_enough(root, train, tmp_path):
    digits = Paths(root, "digits")
    other = train(digits, tmp_path / "other", epochs=4, seed=2)
    summary = validate(FAST, digits, released=("v1.0.0", other))
    assert summary["verdict"] == "more data"
    assert summary["rows_needed"] > 100
    assert re.search(rf"about {summary['rows_needed']:,} more test rows", summary["why"])
    lenient = FAST.model_copy(update={"release_when": "not worse", "equivalence_margin": 0.2})
    assert validate(lenient, digits, released=("v1.0.0", other))["verdict"] == "release"
    strict = FAST.model_copy(update={"equivalence_margin": 0.2})
    assert validate(strict, digits, released=("v1.0.0", other))["verdict"] == "keep"


def test_a_released_version_that_cannot_answer_leaves_the_decision_to_a_person(root):
    digits, cancer = Paths(root, "digits"), Paths(root, "breast_cancer")
    summary = validate(FAST, digits, released=("v1.0.0", cancer.candidate))
    assert summary["verdict"] == "ask"
    assert "The released v1.0.0 cannot predict these rows (it predicts 'diagnosis'" in summary["why"]


def prepare_flowers(folder, train, rows, name, **settings):
    """Collect, prepare and learn rows of the iris data in a project of their own."""
    paths = Paths(folder / name, "iris")
    (folder / f"{name}.csv").write_text("petal,sepal,class\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    collect.run(CollectConfig(uri=str(folder / f"{name}.csv")), paths, task="classification")
    preprocess.run(PreprocessConfig(target="class", **settings), paths, task="classification")
    train(paths, paths.candidate, epochs=40)
    return paths


@pytest.fixture(scope="module")
def flowers():
    from sklearn.datasets import load_iris

    iris = load_iris()
    return [(a, b, iris.target_names[c]) for (b, _, a, _), c in zip(iris.data, iris.target, strict=True)]


def test_one_row_of_a_new_class_does_not_switch_off_the_comparison(flowers, train, tmp_path):
    two = [row for row in flowers if row[2] != "virginica"]
    old = prepare_flowers(tmp_path, train, two, "old")
    few = [row for row in flowers if row[2] == "virginica"][:4]
    new = prepare_flowers(tmp_path, train, [*two, *few], "new")
    summary = validate(FAST, new, released=("v1.0.0", old.candidate))
    assert summary["verdict"] in ("keep", "more data")
    assert "the released v1.0.0" in summary["why"]
    assert read(new)["released"]["accuracy"] > 0.8


def test_a_new_class_counts_as_wrong_for_the_released_version_and_asks_a_person(flowers, train, tmp_path):
    old = prepare_flowers(tmp_path, train, [row for row in flowers if row[2] != "virginica"], "old")
    new = prepare_flowers(tmp_path, train, flowers, "new")
    summary, metrics = validate(FAST, new, released=("v1.0.0", old.candidate)), read(new)
    _, table = load_split(new.ready, "test")
    share = np.mean([label == "virginica" for label in table["class"].to_pylist()])
    assert summary["verdict"] == "ask"
    assert "better than the released v1.0.0" in summary["why"]
    assert "does not know virginica and counts as wrong there, so a person decides" in summary["why"]
    assert 0 < metrics["released"]["accuracy"] <= 1 - share
    assert np.isfinite(metrics["released"]["log_loss"])


@pytest.mark.slow
def test_an_input_that_is_gone_leaves_the_decision_to_a_person(flowers, train, tmp_path):
    old = prepare_flowers(tmp_path, train, flowers, "old")
    new = prepare_flowers(tmp_path, train, flowers, "new", drop_columns=["sepal"])
    summary = validate(FAST, new, released=("v1.0.0", old.candidate))
    assert summary["verdict"] == "ask"
    assert "cannot predict these rows" in summary["why"]
    assert "sepal" in summary["why"]


def test_a_missing_or_broken_candidate_leaves_the_last_report(root, tmp_path):
    digits = Paths(root, "digits")
    validate(FAST, digits, released=None)
    before, weights = folder_version(digits.evaluation), digits.candidate / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    try:
        with pytest.raises(PipelineError, match="broken"):
            validate(FAST, digits, released=None)
    finally:
        weights.write_bytes(whole)
    assert folder_version(digits.evaluation) == before


@pytest.mark.slow
def test_plots_are_tables_that_dvc_draws(root):
    paths = Paths(root, "digits")
    board = [{"architecture": "linear", "score": 0.95}, {"architecture": "cnn", "score": 0.99}]
    write_json(paths.select, {"architecture": "cnn", "why": "", "metric": "accuracy", "leaderboard": board})
    validate(FAST, paths, released=None)
    paths.select.unlink()
    plots = {path.name: path.read_text().splitlines() for path in (paths.evaluation / "plots").iterdir()}
    assert sorted(plots) == ["confusion.csv", "leaderboard.csv", "learning.csv"]
    assert plots["confusion.csv"][0] == "actual,predicted"
    assert len(plots["confusion.csv"]) == 1 + read(paths)["rows"]
    assert plots["learning.csv"][0].startswith("epoch,")
    assert plots["learning.csv"][0].endswith(",log_loss")
    assert len(plots["learning.csv"]) == 5
    validate(FAST, Paths(root, "sunspots"), released=None)
    lines = (Paths(root, "sunspots").evaluation / "plots" / "forecast.csv").read_text().splitlines()
    assert lines[0] == "time,actual,predicted"
    assert lines[1].startswith("1921.0,26.1,")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"confidence": 95}, "confidence is 95; give a fraction between 0.5 and 1"),
        ({"bootstrap_samples": 3}, "bootstrap_samples is 3; give at least 100"),
        ({"equivalence_margin": -1}, "equivalence_margin is -1; give a fraction between 0 and 1"),
        ({"slices": {"a": [1]}}, "slices.a has 1 values; give at least 2"),
    ],
)
def test_wrong_parameters_are_told(wrong, message):
    with pytest.raises(PipelineError, match=re.escape(message)):
        build(ValidateConfig, wrong, "validate")


def test_rows_to_add_shrink_with_the_difference_sought():
    def gap(value: float, deviation: float) -> PairedDifference:
        return PairedDifference(
            0.9, 0.9 - value, Estimate(value, value - 1, value + 1), 0.5, 300, deviation, "rows", ""
        )

    assert more_rows(gap(0.0, 0.0), ValidateConfig()) > 300  # never seen apart, and yet a point could hide
    assert more_rows(gap(0.02, 0.2), ValidateConfig()) > more_rows(gap(0.05, 0.2), ValidateConfig())
    assert [percent(share) for share in (0.8955, -0.0213, 0.0, 0.0014)] == ["90%", "−2.1%", "0.0%", "0.14%"]


def test_without_the_released_version_a_person_decides(root):
    digits = Paths(root, "digits")
    summary = validate(FAST, digits, released=("v1.0.0", None))
    assert (summary["verdict"], read(digits)["released"]) == ("ask", {"version": "v1.0.0"})
    assert "v1.0.0 cannot predict these rows (it was left out by --baseline-only), so a person" in summary["why"]
