"""A search is drawn whole: what mattered, each option alone, all together, also of words and of one trial."""

from evergreen.core.marks import Bars, Chart, Fold, ParallelLines, Text
from evergreen.pages.layout import draw
from evergreen.pages.search_section import draw_search


def trial(number, score, **options):
    state = "finished" if score is not None else "failed"
    return {"number": number, "options": options, "score": score, "epochs": 9, "state": state}


SEARCH = {
    "metric": "log_loss",
    "direction": "min",
    "why": "because",
    "options": {"rate": 0.1},
    "importance": {"rate": 0.75, "rule": 0.25},
    "trials": [
        trial(0, 0.5, rate=0.001, rule="a", width=1),
        trial(1, 0.2, rate=0.1, rule="b", width=3),
        trial(2, 0.4, rate=0.01, rule="a", width=2),
        trial(3, None, rate=1.0, rule="a", width=2),
    ],
}


def found(marks, kind):
    return [mark for mark in marks if isinstance(mark, kind)]


def test_lines_cross_the_axes_in_order_of_importance():
    marks = draw_search(SEARCH)
    (lines,) = found(marks, ParallelLines)
    assert lines.names == ["rate", "rule", "width", "log-loss"]
    assert [[round(value, 2) for value in line] for line in lines.lines] == [
        [0.0, 0.0, 0.0, 1.0],
        [1.0, 1.0, 1.0, 0.0],
        [0.5, 0.0, 0.5, 0.67],
    ]
    assert (lines.low, lines.high) == (["0.001", "a", "1", "0.2"], ["0.1", "b", "3", "0.5"])
    assert lines.best == [1, 2, 0]
    assert found(marks, Bars)[0].shares == {"rate": [0.75], "rule": [0.25]}
    assert all(draw(mark.to_json()).strip() for mark in marks)


def test_each_option_has_its_slice():
    (alone, _) = found(draw_search(SEARCH), Fold)
    rate, rule, width = alone.marks
    assert isinstance(rate, Chart)
    assert rate.x == "rate, power of ten"
    assert [round(point[0], 6) for point in rate.lines[0].points] == [-3, -1, -2]
    assert rule.x == "rule: 0 a, 1 b"
    assert list(width.lines[0].points) == [(1.0, 0.5), (3.0, 0.2), (2.0, 0.4)]


def test_one_trial_and_older_records_have_no_lines():
    older = {name: value for name, value in SEARCH.items() if name not in ("importance", "direction")}
    assert not found(draw_search(older), Bars)
    assert not found(draw_search({**SEARCH, "trials": SEARCH["trials"][:1]}), ParallelLines)


def test_the_front_is_named():
    texts = [mark.text for mark in found(draw_search({**SEARCH, "front": [0, 1], "objective": ["parameters"]}), Text)]
    assert "None beats these trials in score and parameters together: 0, 1." in texts
