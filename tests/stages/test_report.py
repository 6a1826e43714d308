"""The page: complete, self-contained, escaped, and honest about what is missing. Real data, real small models."""

import copy
import dataclasses
import re
import struct
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evergreen.core.paths import Paths
from evergreen.stages.drawing.pictures import Axis, Dot, Line, chart, dots, image, number_text
from evergreen.stages.report import page, sections
from evergreen.stages.report.mistakes import worst
from evergreen.stages.validate.config import ValidateConfig
from evergreen.stages.validate.evidence import Evidence, measure
from evergreen.stages.validate.predictions import Scored
from evergreen.stages.validate.stage import summarise
from evergreen.stages.validate.verdict import judge

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


def written(evidence: Evidence, name: str = "p", **parts) -> str:
    params = ValidateConfig(resamples=100)
    gaps = {role: evidence.gap(other, params) for role, other in evidence.opponents.items()}
    metrics = summarise(evidence, gaps, judge(evidence, gaps, params), params)
    return page(name, evidence, metrics, **{"choice": {}, "search": {}, "data": {}} | parts)


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def evidence(candidates):
    def of(name: str) -> Evidence:
        paths = Paths(candidates, name)
        return measure(paths.candidate, paths.ready, None)

    return of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits", ["Which class is taken for which", "data:image/png;base64", "% sure)", "logistic regression"]),
        ("breast_cancer", ["malignant", "the row's 30 values", "worst_concave_points"]),
        ("diabetes", ["On the dashed line an answer is exact", "largest error", "ridge regression"]),
        ("sunspots", ["what it said, one step ahead", "AR(9)", 'class="spark"', "statsmodels:sunspots#"]),
    ],
)
def test_the_page_is_whole_and_needs_nothing_else(evidence, name, expected):
    text = written(evidence(name), name, choice=CHOICE, search=SEARCH, data=DATA)
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
    for words in [*expected, *always, "3 rows are twins", "loss on validation rows", "learning rate"]:
        assert words in text, words
    assert text == written(evidence(name), name, choice=CHOICE, search=SEARCH, data=DATA)
    assert not re.search(r">(None|nan|inf)<", text)


def test_what_is_missing_is_said(evidence):
    found = evidence("digits")
    bare = {name: value for name, value in found.model.card.items() if name in ("architecture", "task", "options")}
    text = written(dataclasses.replace(found, model=dataclasses.replace(found.model, card=bare)))
    parsed(text)
    assert "no race between architectures is recorded" in text
    assert "No search is recorded" in text
    assert "No learning curve is recorded" in text
    assert "No counts of rows set aside are recorded" in text


def test_text_from_outside_is_escaped(evidence):
    found, evil = evidence("breast_cancer"), "<img src=x onerror=alert(1)>"
    spec = copy.deepcopy(found.model.spec)
    spec.target.state["values"][0][0] = evil
    spec = dataclasses.replace(spec, target_name=evil)
    model = dataclasses.replace(
        found.model, spec=spec, card={**found.model.card, "data_version": evil, "architecture": evil}
    )
    refused = dataclasses.replace(found, model=model, version=evil, refusal=evil)
    choice = {**CHOICE, "why": evil, "leaderboard": [{**CHOICE["leaderboard"][0], "architecture": evil}]}
    search = {**SEARCH, "why": evil, "options": {evil: evil}}
    refused.candidate.task.classes[0] = evil
    text = written(
        refused, evil, choice=choice, search=search, data={"quarantined": {"reasons": {evil: 1}}, "notes": [evil]}
    )
    parsed(text)
    assert "<img src=x" not in text
    assert text.count("&lt;img src=x") > 10


def test_a_perfect_model_has_no_mistakes_to_show(evidence):
    found = evidence("digits")
    right = torch.nn.functional.one_hot(found.candidate.target, 10).float() * 9
    candidate = Scored.of("candidate", found.candidate.task, right, found.candidate.target)
    perfect = dataclasses.replace(found, candidate=candidate)
    text = written(perfect)
    assert f"all {found.rows} test rows are answered rightly" in text
    assert not len(worst(perfect))


def test_the_worst_are_wrong_and_the_surest_come_first(evidence):
    found = evidence("digits")
    rows, answers, truth = worst(found), found.candidate.answers(), found.truth()
    assert len(rows)
    assert all(answers[row]["prediction"] != truth[row] for row in rows)
    sure = [max(answers[row]["probabilities"].values()) for row in rows]
    assert sure == sorted(sure, reverse=True)


def test_an_image_is_a_png_of_its_values():
    text = image(np.array([[[0.0, 0.5], [1.0, -1.0]]]), 'a "b"')
    data = b64decode(re.search(r"base64,([^\"]+)", text)[1])
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (2, 2)
    length = struct.unpack(">I", data[33:37])[0]
    assert zlib.decompress(data[41 : 41 + length]) == b"\0\x80\xbf\0\xff\0"
    assert 'alt="a &quot;b&quot;"' in text


def test_pictures_bear_nothing_constant_and_not_a_number():
    assert chart([], x="x", y="y") == ""
    assert chart([Line("a", [(0.0, float("nan"))])], x="x", y="y") == ""
    assert "nan" not in chart([Line("a", [(1.0, 2.0), (2.0, 2.0), (3.0, float("inf"))])], x="x", y="y")
    assert dots([Dot("a", float("nan"))], x="x") == ""
    assert dots([Dot("a", 0.0, 0.0, 0.0)], x="x").count("<circle") == 1
    axis = Axis.around([0.0, 100.0], 0, 10)
    assert [axis.label(tick) for tick in axis.ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [number_text(value) for value in (0.98634, 0.99993, 1.0, 1234.5, -0.5, 0.00001, None)] == [
        "0.986", "0.9999", "1.000", "1,234", "−0.500", "1.00e−05", "—",
    ]  # fmt: skip


def test_what_was_found_in_the_data_is_repeated_with_the_way_to_the_page_about_it(tmp_path):
    spec, paths = SimpleNamespace(rows=dict.fromkeys(("train", "validation", "test"), 3)), Paths(tmp_path, "digits")
    leaks = [{"text": "'says' alone predicts", "grave": True}, {"text": "too few to matter", "grave": False}]
    text = sections.data({"quarantined": {}, "leaks": leaks}, spec, "digits")
    assert "Beware: &#x27;says&#x27; alone predicts" in text
    assert "too few to matter" not in text
    (link,) = re.findall(r'href="([^"]+)"', text)
    assert (paths.report / link).resolve() == (paths.described / "report.html").resolve()
