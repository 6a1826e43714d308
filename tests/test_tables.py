"""The benchmark on public tables: what is measured stays, and the page says how far behind the best we are."""

import json

import numpy as np
import pytest

from benchmarks.tables import __main__ as tables
from benchmarks.tables.opponents import class_scores, number_scores, opponents
from benchmarks.tables.sources import SOURCES


def row(table, split, ours, line, forest, boosting, key="log_loss"):
    beside = {name: {key: score} for name, score in zip(tables.NAMES, (line, forest, boosting), strict=True)}
    facts = {"table": table, "split": split, "rows": 100, "architecture": "mlp", "core_seconds": 9.0, "commit": "1234"}
    return {**facts, "rules": tables.rules(), "scores": {key: ours}, "opponents": beside}


def test_the_page_tells_the_ratio_and_the_ranks_of_each_half():
    rows = [
        row("gender", 0, 0.5, 0.4, 0.6, 0.7),
        row("gender", 1, 0.3, 0.4, 0.6, 0.7),
        row("chains", 0, 0.9, 0.6, 0.6, 0.7),
    ]
    page = tables.page({f"{one['table']} {one['split']}": one for one in rows})
    seen, unseen = page.split("## Unseen")
    assert "| 0.4 | 0.4 | 0.6 | 0.7 | 1.000 | 1.5 | mlp 2 | 9 | yes |" in seen
    assert "1 of 1 within 3%. Mean rank: Evergreen 1.50, logistic or ridge 1.50" in seen
    assert "| 1.500 | 4.0 | mlp 1 | 9 | no |" in unseen
    assert "0 of 1 within 3%" in unseen
    assert "**chains** is 50.0% behind: " in unseen
    assert "behind: " not in seen
    assert "gender (2 of 5)" in unseen
    assert "Measured at 1234." in unseen


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(tables, "PAGE", tmp_path / "TABLES.md")
    asked = []

    def process(name, split):
        asked.append((name, split))
        return row(name, split, 0.5, 0.4, 0.6, 0.7) if name != "work" else None

    monkeypatch.setattr(tables, "_process", process)
    assert tables.main(["--splits", "1", "gender", "work"]) == 0
    assert list(json.loads(tables.RESULTS.read_text())) == ["gender 0"]
    tables.main(["--splits", "2", "gender", "work"])
    again = [("gender", 0), ("gender", 1), ("work", 0), ("work", 0), ("work", 1)]  # what failed is tried again
    assert sorted(asked) == again
    assert "gender" in tables.PAGE.read_text()


def test_what_other_rules_chose_is_measured_anew(tmp_path, monkeypatch):
    old = row("gender", 0, 0.5, 0.4, 0.6, 0.7) | {"rules": {"select": 1}}
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(tables, "PAGE", tmp_path / "TABLES.md")
    monkeypatch.setattr(tables, "_process", lambda *_: row("gender", 0, 0.3, 0.4, 0.6, 0.7))
    tables.RESULTS.write_text(json.dumps({"gender 0": old, "work 0": old | {"table": "work"}}))
    tables.main(["--splits", "1", "gender"])
    assert [one["scores"] for one in json.loads(tables.RESULTS.read_text()).values()] == [{"log_loss": 0.3}]


def test_half_of_the_tables_at_least_are_unseen():
    assert sum(one.is_seen for one in SOURCES.values()) * 2 <= len(SOURCES)


def test_scores_are_scikit_learns():
    from sklearn.metrics import log_loss, root_mean_squared_error

    random = np.random.default_rng(0)
    p_NK, truth = random.dirichlet([1.0, 1.0, 1.0], 50), random.choice(["a", "b", "c"], 50)
    told = class_scores(dict(zip("abc", p_NK.T, strict=True)), truth)
    assert told["log_loss"] == pytest.approx(log_loss(truth, p_NK))
    y, z = random.normal(size=(2, 50))
    assert number_scores(y, z)["rmse"] == pytest.approx(root_mean_squared_error(z, y))


def test_opponents_take_missing_and_new_values():
    import pandas as pd

    frame = pd.DataFrame({"x": [1.0, None, 3.0, 4.0] * 9, "colour": ["red", None, "blue", "red"] * 9})
    for target in (["yes", "no"] * 18, [0.5, 2.0] * 18):
        train = frame.assign(y=target)
        test = train.assign(colour=["green"] * 36)
        assert set(opponents(train, test, "y", target[0] == "yes")) == set(tables.NAMES)
