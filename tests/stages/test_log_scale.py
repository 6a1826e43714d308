"""A skewed target is learned on a log scale: answers are in its own units, above zero, and wrong by like shares."""

import numpy as np
import pytest

import evergreen
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.validate.evidence import collect_evidence


@pytest.mark.slow
def test_a_log_scale_makes_errors_shares(tmp_path, train):
    random = np.random.default_rng(0)
    x = random.normal(size=600)
    cost = np.exp(2 * x + 3 + 0.1 * random.normal(size=600))
    (tmp_path / "t.csv").write_text("\n".join(["x,cost", *(f"{a:.4f},{b:.4f}" for a, b in zip(x, cost, strict=True))]))
    shares = {}
    for transform in ("", "log"):
        paths = Paths(tmp_path, f"t{transform}")
        collect.run(CollectConfig(uri="t.csv"), paths)
        preprocess.run(PreprocessConfig(target="cost", transform=transform), paths, task="regression")
        train(paths, paths.candidate, epochs=40)
        found = collect_evidence(paths.candidate, paths.ready, None)
        assert found.refusal == ""
        answers = evergreen.load(paths.candidate).predict({"x": [-1.0, 0.0, 1.0]}).to_pylist()
        predicted = np.array([row["prediction"] for row in answers])
        shares[transform] = np.abs(predicted / np.exp([1, 3, 5]) - 1).max()
        if transform:
            assert all(0 <= row["low"] <= row["prediction"] <= row["high"] for row in answers)
    assert shares["log"] < 0.5 < 1 < shares[""]
