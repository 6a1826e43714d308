"""The report: complete, self-contained, escaped, and honest about what is missing. Real data, real small models."""

import copy
import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest
import torch

from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.pages.model_page import page
from evergreen.stages.report import stage as report
from evergreen.stages.validate import evaluation
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evaluated_rows import ShownRows
from evergreen.stages.validate.evidence import Evidence, collect_evidence
from evergreen.stages.validate.predictions import Predictions
from evergreen.stages.validate.stage import summarise
from evergreen.stages.validate.verdict import decide
from evergreen.stages.validate.worst_rows import find_worst, labels

VOID = {"meta", "img", "br", "circle", "line", "path"}
CHOICE = {
    "architecture": "linear",
    "why": "linear is within one standard error of the best & cheaper",
    "metric": "accuracy",
    "direction": "max",
    "leaderboard": [
        {
            "architecture": "linear",
            "score": 0.95,
            "standard_error": 0.01,
            "parameters": 650,
            "epochs": 9,
            "seconds": 1.2,
        },
        {"architecture": "mlp", "score": None, "standard_error": None, "parameters": None, "epochs": 1, "seconds": 0.4},
    ],
}
SEARCH = {
    "architecture": "linear",
    "options": {"learning_rate": 0.01},
    "metric": "accuracy",
    "why": "trial 1 was the best of 2",
    "trials": [
        {"number": 0, "options": {"learning_rate": 0.1}, "score": None, "epochs": 1, "state": "failed"},
        {"number": 1, "options": {"learning_rate": 0.01}, "score": 0.97, "epochs": 9, "state": "done"},
    ],
}
DATA = {"quarantined": {"rows": 2, "reasons": {"the target is missing": 2}}, "notes": ["3 rows are twins"]}


class Tags(HTMLParser):
    """Fails on a tag that is not closed, or closed by another."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def stored(evidence: Evidence, folder) -> tuple[dict, dict]:
    """The metrics and the evidence as validate stores them."""
    config = ValidateConfig(bootstrap_samples=100)
    gaps = {role: evidence.gap(other, config) for role, other in evidence.opponents.items()}
    metrics = summarise(evidence, gaps, decide(evidence, gaps, config), config)
    evaluation.write(folder, evidence, CHOICE, {})
    return json.loads(json.dumps(metrics)), json.loads((folder / "evidence.json").read_text())


def written(evidence: Evidence, folder, name: str = "p", **parts) -> str:
    metrics, facts = stored(evidence, folder)
    card = parts.pop("card", evidence.model.card)
    return page(name, metrics=metrics, evidence=facts, card=card, **{"choice": {}, "search": {}, "data": {}} | parts)


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def evidence(candidates):
    def of(name: str) -> Evidence:
        paths = Paths(candidates, name)
        return collect_evidence(paths.candidate, paths.ready, None)

    return of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", ["Which class is taken for which", "data:image/png;base64", "% sure)", "logistic regression"]),
        ("breast_cancer", ["malignant", "the row&#39;s 30 values", "worst_concave_points"]),
        ("diabetes", ["On the dashed line a prediction is exact", "largest error", "ridge regression"]),
        ("sunspots", ["predicted, one step ahead", "AR(9)", 'class="spark"', "statsmodels:sunspots#"]),
    ],
)
def test_the_page_is_whole_and_needs_nothing_else(evidence, tmp_path, name, expected):
    text = written(evidence(name), tmp_path, name, choice=CHOICE, search=SEARCH, data=DATA)
    tags = parsed(text)
    assert all(link.startswith("data:") for link in tags.links)
    assert "script" not in tags.seen
    assert not re.search(r"url\(|@import|https?://", text)
    always = [
        "Release it",
        "Why this architecture",
        "best &amp; cheaper",
        "trial 1 was the best",
        "the target is missing",
    ]
    for words in [*expected, *always, "3 rows are twins", "loss on validation rows", "learning rate", "fit, s"]:
        assert words in text, words
    shutil.rmtree(tmp_path / "plots")
    assert text == written(evidence(name), tmp_path, name, choice=CHOICE, search=SEARCH, data=DATA)
    assert not re.search(r">(None|nan|inf)<", text)


def test_what_is_missing_is_said(evidence, tmp_path):
    found = evidence("digits")
    bare = {name: value for name, value in found.model.card.items() if name in ("architecture", "task", "options")}
    text = written(found, tmp_path, card=bare)
    parsed(text)
    assert "no race between architectures is recorded" in text
    assert "No search is recorded" in text
    assert "No learning curve is recorded" in text
    assert "No counts of quarantined rows are recorded" in text


def test_text_from_outside_is_escaped(evidence, tmp_path):
    found, evil = evidence("breast_cancer"), "<img src=x onerror=alert(1)>"
    spec = copy.deepcopy(found.model.spec)
    spec.target.state["values"][0][0] = evil
    spec = dataclasses.replace(spec, target_name=evil)
    card = {**found.model.card, "data_version": evil, "architecture": evil}
    refused = dataclasses.replace(
        found, model=dataclasses.replace(found.model, spec=spec, card=card), version=evil, refusal=evil
    )
    choice = {**CHOICE, "why": evil, "leaderboard": [{**CHOICE["leaderboard"][0], "architecture": evil}]}
    search = {**SEARCH, "why": evil, "options": {evil: evil}}
    refused.candidate.task.classes[0] = evil
    data = {"quarantined": {"reasons": {evil: 1}}, "notes": [evil]}
    text = written(refused, tmp_path, evil, choice=choice, search=search, data=data)
    parsed(text)
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x") > 10


def test_a_perfect_model_has_no_mistakes_to_show(evidence, tmp_path):
    found = evidence("digits")
    right = torch.nn.functional.one_hot(found.candidate.target, 10).float() * 9
    candidate = Predictions.from_output("candidate", found.candidate.task, right, found.candidate.target)
    perfect = dataclasses.replace(found, candidate=candidate)
    assert f"all {found.rows} test rows are predicted rightly" in written(perfect, tmp_path)
    assert not len(find_worst(perfect))


def test_the_worst_are_wrong_and_the_surest_come_first(evidence):
    found = evidence("digits")
    rows, answers, truth = find_worst(found), found.candidate.answers(), found.truth()
    assert len(rows)
    assert all(answers[row]["prediction"] != truth[row] for row in rows)
    sure = [max(answers[row]["probabilities"].values()) for row in rows]
    assert sure == sorted(sure, reverse=True)


def test_captions_say_what_was_predicted_and_what_is():
    chances = {"prediction": 3, "probabilities": {"3": 0.9, "4": 0.1}}
    assert labels(chances, 4) == {"predicted": "3 (90% sure)", "actual": "4"}
    assert labels({"prediction": 1.5}, 2.0) == {"predicted": 1.5, "actual": 2.0}
    none = {"prediction": [], "probabilities": {"a": 0.1}}
    assert labels(none, ["a", "b"]) == {"predicted": "none", "actual": "a, b"}
    assert labels({"prediction": [1.0, 2.0, 3.0, 4.0]}, [1, 2, 3, 4])["predicted"] == "1, 2, 3, …"
    assert labels({"prediction": [1.0, 2.0]}, "x") == {"actual": "x"}
    assert labels({"prediction": [{"class": "cat"}]}, []) == {}


def test_the_stored_predictions_are_those_that_were_scored(evidence, tmp_path):
    found = evidence("digits")
    stored(found, tmp_path)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    right = [actual == predicted for actual, predicted in zip(table["actual"], table["prediction"], strict=True)]
    assert sum(right) / len(right) == pytest.approx(found.candidate.metrics()["accuracy"])
    assert sum(table["row_score"]) / len(right) == pytest.approx(found.candidate.metrics()["log_loss"])
    assert table["_origin"][0].startswith("sklearn:digits#")
    lines = list(csv.reader((tmp_path / "plots" / "confusion.csv").open()))
    assert lines[0] == ["actual", "predicted"]
    assert len(lines) == 1 + found.rows


def test_rows_are_spread_from_the_worst_to_the_best(evidence):
    shown = ShownRows(evidence("diabetes"))
    rows = shown.spread(5)
    errors = shown.scores[rows].tolist()
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == shown.scores.max()
    assert len(rows) == 5


def test_what_was_found_in_the_data_is_repeated_with_the_way_to_the_page_about_it(evidence, tmp_path):
    paths = Paths(tmp_path, "digits")
    leaks = [{"text": "'says' alone predicts", "grave": True}, {"text": "too few to matter", "grave": False}]
    text = written(evidence("digits"), tmp_path, "digits", data={"quarantined": {}, "leaks": leaks})
    assert "Beware: &#39;says&#39; alone predicts" in text
    assert "too few to matter" not in text
    (link,) = re.findall(r'href="([^"]+)"', text)
    assert (paths.report / link).resolve() == (paths.described / "report.html").resolve()


def test_the_report_is_drawn_from_files_alone_without_torch(evidence, tmp_path):
    found, paths = evidence("digits"), Paths(tmp_path, "digits")
    paths.evaluation.mkdir(parents=True)
    metrics, _ = stored(found, paths.evaluation)
    write_json(paths.metrics, metrics)
    write_json(paths.candidate / "model.json", found.model.card)
    lines = (
        "import sys; from pathlib import Path; from evergreen.core.paths import Paths\n"
        "from evergreen.stages.report import stage\n"
        f"stage.run(None, Paths(Path({str(tmp_path)!r}), 'digits'), task='')\n"
        "print(sorted({'torch', 'ray', 'numpy', 'pyarrow', 'dvc', 'prefect'} & set(sys.modules)))"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - start < 10  # about half a second on a quiet machine
    text = (paths.report / "report.html").read_text()
    parsed(text)
    assert "Which class is taken for which" in text


def test_evidence_of_another_format_is_refused(tmp_path):
    paths = Paths(tmp_path, "p")
    write_json(paths.evaluation / "evidence.json", {"format": 99})
    with pytest.raises(Exception, match=r"written by a newer Evergreen \(format 99"):
        report.run(None, paths, task="")
