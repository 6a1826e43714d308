"""What the monitor says of requests: what moved and how good answers are, the same after kills and in many looks."""

import json
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.data import prepared
from evergreen.stages.answer_table import Answers
from evergreen.stages.artifacts import load_model
from evergreen.stages.deploy.late_labels import add_labels
from evergreen.stages.deploy.request_log import Entry, RequestLog
from evergreen.stages.monitor import stage as monitor
from evergreen.stages.monitor.column_changes import adjust_holm, find_changes
from evergreen.stages.monitor.estimate import ScoreModel
from evergreen.stages.monitor.findings import find_rule_change
from evergreen.stages.monitor.reference import Reference, open_reference, write_reference
from evergreen.stages.monitor.row_scores import find_metric
from evergreen.stages.monitor.slices import find_far_rows, find_slices
from evergreen.stages.operation import MonitorConfig
from evergreen.stages.request_files import read_requests

START = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
VERSION = "v1.0.0"
CONFIG = MonitorConfig(window=200)


@pytest.fixture(scope="module")
def references(candidates, tmp_path_factory):
    """The reference of each candidate as a first look makes it, by name."""
    folders = {name: tmp_path_factory.mktemp("reference") / VERSION for name in ("breast_cancer", "diabetes", "digits")}
    for name, folder in folders.items():
        paths = Paths(candidates, name)
        write_reference(folder, paths.candidate, paths.ready)
    return folders


@pytest.fixture
def watch(references, candidates, tmp_path):
    def watch(name="breast_cancer"):
        return Watched(Paths(tmp_path, name), Paths(candidates, name), references[name])

    return watch


class Watched:
    """A pipeline whose requests are logged as the endpoint does it, and monitored."""

    def __init__(self, paths, trained, reference):
        self.paths, self.model = paths, load_model(trained.candidate)
        self.test = prepared.read(trained.ready, "test")
        shutil.copytree(reference, paths.monitor / VERSION)
        self.served = SimpleNamespace(
            version=VERSION, limits={"log": {"sample": 1.0, "drop": [], "days": 36500, "max_bytes": 2**40}}
        )
        self.n_asked, self.truth = 0, {}
        self.log = RequestLog(paths.requests.parent, "one")

    def ask(self, n_rows, seed=0, change=lambda table: table, batch=90):
        """Ask for rows that are drawn from the test rows and changed."""
        drawn = self.test.take(np.random.default_rng(seed).integers(len(self.test), size=n_rows))
        rows = self.model.spec.validate_table(change(drawn.select(self.model.spec.columns)))[0]
        answers, target = self.model.predict(rows), drawn[self.model.spec.target_name].to_pylist()
        for start in range(0, n_rows, batch):
            some, request = rows.slice(start, batch), f"r{self.n_asked}"
            self.truth |= {(request, row): truth for row, truth in enumerate(target[start : start + batch])}
            at = START + 60 * self.n_asked
            said = Answers([answers[start : start + batch]])
            entry = Entry(self.paths.name, self.served, some, said, request, "", 0.01, 1, moment=at)
            self.log._queue.append(entry)
            self.log.flush()
            self.n_asked += 1
        return np.array([answer["prediction"] == one for answer, one in zip(answers, target, strict=True)])

    def look(self, config=CONFIG):
        return monitor.run(config, self.paths)

    def label(self, places):
        labels = [{"request_id": request, "row": row, "label": self.truth[request, row]} for request, row in places]
        assert add_labels(self.paths.requests, self.model.spec, labels)["added"] == len(labels)


def scaled(name, factor):
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array(table[name].to_numpy() * factor)
    )


def test_rows_like_those_before_move_nothing_and_the_score_is_estimated(watch):
    watched = watch()
    right = watched.ask(1050)
    findings = watched.look()
    assert [window["rows"] for window in findings["windows"]] == [200] * 5
    assert findings["unfinished"] == {VERSION: 50}
    assert [window["moved"] for window in findings["windows"]] == [[]] * 5
    for place, window in enumerate(findings["windows"]):
        true = right[200 * place : 200 * place + 200].mean()
        assert window["estimate"]["low"] <= true <= window["estimate"]["high"]
    latest = findings["latest"]
    assert (latest["metric"], latest["goal"], latest["true"], latest["labels"]) == ("accuracy", "max", None, 0)
    assert "concept drift" in latest["assumes"]
    assert latest["first"] < latest["last"] < "2026-03-02"
    assert findings["windows"][0]["latency_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}


def test_a_column_that_moves_is_named_first_and_in_words(watch):
    watched = watch()
    watched.ask(200)
    watched.ask(200, change=scaled("mean_area", 1.5))
    calm, moved = (window["moved"] for window in watched.look()["windows"])
    assert calm == []
    assert moved[0].startswith("mean_area: median ")
    assert moved[0].count("before") == 1
    assert len(moved) == 1 or all(text.startswith(("mean_area", "prediction", "confidence")) for text in moved)


def test_a_column_that_breaks_is_told_as_missing(watch):
    watched = watch()
    watched.ask(
        200, change=lambda table: table.set_column(3, table.column_names[3], pa.nulls(len(table), pa.float64()))
    )
    name = watched.model.spec.columns[3]
    (window,) = watched.look()["windows"]
    assert window["moved"][0] == f"{name}: missing in 0% before, in 100% now"


def test_values_that_training_rows_do_not_have_are_told(random_model, tmp_path):
    random_model("sizes", tmp_path, 1)
    model, draw = load_model(tmp_path), np.random.default_rng(0)

    def rows(colours):
        return pa.table({"age": draw.random(500), "colour": draw.choice(colours, 500)})

    before = rows(["red", "blue"])
    answers = pa.table({"prediction": pa.array(["small", "large"] * 250)})
    reference = Reference(model.spec, before, answers, {}, None)
    now = rows(["red", "blue"] * 5 + ["green"])
    unusual = reference.encode(now)[1]
    changes = find_changes(reference, now, answers, unusual, np.arange(500), floor=0.1)
    assert [change.column for change in changes if change.matters] == ["colour"]
    assert changes[0].text.startswith("missing, or unlike all training rows, in 0.0% before, in ")
    same = find_changes(reference, rows(["red", "blue"]), answers, {}, np.arange(500), floor=0.1)
    assert not any(change.matters for change in same)


def test_repeated_rows_count_once(watch):
    watched = watch()
    watched.test = watched.test.slice(0, 8)  # a health check, say: few rows, asked again and again
    watched.ask(200)
    (window,) = watched.look()["windows"]
    assert window["moved"] == []
    assert window["estimate"]["high"] - window["estimate"]["low"] > 0.05


def test_any_number_of_looks_finds_the_same_also_when_journals_become_parquet(watch):
    watched = watch()
    found = []
    for seed in range(3):
        watched.ask(350, seed)
        if seed == 1:
            watched.log.close()
        found.append(watched.look())
    assert [len(findings["windows"]) for findings in found] == [1, 3, 5]
    assert list(watched.paths.requests.glob("*/*.parquet"))
    (watched.paths.monitor / monitor.FILE).unlink()
    assert watched.look() == found[-1]


def test_a_kill_at_any_moment_changes_nothing(watch, monkeypatch):
    watched = watch()
    watched.ask(900)
    watched.label([(f"r{number}", 3) for number in range(10)])
    whole, stored = watched.look(), (watched.paths.monitor / monitor.FILE).read_text()
    monkeypatch.setattr(monitor, "SAVE_SECONDS", 0.0)
    add = monitor.Monitor._add_labels
    for n_before in range(1, 5):
        (watched.paths.monitor / monitor.FILE).unlink(missing_ok=True)
        left = [n_before]

        def killed(*arguments, left=left, **named):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return add(*arguments, **named)

        monkeypatch.setattr(monitor.Monitor, "_add_labels", killed)
        if n_before < 4:
            with pytest.raises(KeyboardInterrupt):
                watched.look()
        monkeypatch.setattr(monitor.Monitor, "_add_labels", add)
        assert watched.look() == whole
        assert (watched.paths.monitor / monitor.FILE).read_text() == stored


def test_labels_that_come_later_make_the_true_score_each_once(watch):
    watched = watch()
    right = watched.ask(450)
    watched.label([("r0", row) for row in range(90)])
    first = watched.look()
    assert first["windows"][0]["truth"] == {"labels": 90, "sum": right[:90].sum(), "squares": right[:90].sum()}
    latest, until = first["latest"], first["windows"][0]["last"]  # the newest window has no label yet
    assert (latest["true"], latest["labels"], latest["true_until"]) == (right[:90].mean(), 90, until)
    assert latest["loss"]["true"] == pytest.approx(1 - right[:90].mean())
    assert latest["last"] > until
    assert latest["rows_a_day"] is None
    watched.label([("r1", row) for row in range(90)] + [("r4", row) for row in range(90)])  # of both windows and none
    findings = watched.look()
    assert [window["truth"]["labels"] for window in findings["windows"]] == [180, 40]
    assert findings["latest"]["true"] == right[360:400].mean()
    assert list(findings["labels"]["waiting"].values()) == [50]
    watched.label([("r2", 0)])  # while others wait
    watched.ask(150)
    findings = watched.look()
    assert [window["truth"]["labels"] for window in findings["windows"]] == [181, 40, 50]
    assert findings["labels"]["waiting"] == {}
    assert watched.look()["windows"] == findings["windows"]


def test_numbers_have_a_root_mean_squared_error(watch):
    watched = watch("diabetes")
    watched.ask(400)
    watched.label([(f"r{number}", row) for number in range(4) for row in range(80)])
    latest = watched.look()["latest"]
    assert (latest["metric"], latest["goal"], latest["labels"]) == ("rmse", "min", 140)
    assert latest["estimated"]["low"] < latest["true"] < latest["estimated"]["high"]
    assert latest["loss"]["true"] == latest["true"]


def test_images_are_compared_too(watch):
    watched = watch("digits")
    watched.ask(200)
    kept = watched.test
    watched.test = kept.filter(pa.array(np.isin(kept["digit"].to_pylist(), ["0", "1", 0, 1])))
    watched.ask(200)
    calm, moved = watched.look()["windows"]
    assert calm["moved"] == []
    assert any(text.startswith("prediction: ") for text in moved["moved"])


def test_what_is_left_out_of_the_log_is_not_compared(watch):
    watched = watch()
    watched.served.limits["log"]["drop"] = ["mean_area"]
    watched.ask(200, change=scaled("mean_area", 1.5))
    (window,) = watched.look()["windows"]
    assert "mean_area" not in {one["column"] for one in window["columns"]}


def test_a_version_whose_rows_are_lost_is_told_and_its_requests_counted(watch):
    watched = watch()
    shutil.rmtree(watched.paths.monitor / VERSION)
    watched.ask(200)
    findings = watched.look()
    assert findings["windows"][0]["rows"] == 200
    assert findings["versions"][VERSION]["problem"]
    assert findings["latest"]["estimated"] is None
    assert "compared with nothing" in (watched.paths.monitor / monitor.PAGE).read_text()


def test_two_replicas_are_read_in_the_order_of_time(watch):
    watched = watch()
    other = RequestLog(watched.paths.requests.parent, "other")
    first = watched.log
    for number in range(8):
        watched.log = (first, other)[number % 2]
        watched.ask(50, number, batch=50)
    one, two = watched.look()["windows"]
    assert one["last"] < two["first"]


def test_the_page_says_what_moved_and_loads_nothing(watch):
    watched = watch()
    watched.ask(200)
    watched.ask(400, change=scaled("mean_area", 3.0))
    watched.label([("r1", row) for row in range(60)])
    watched.look()
    text = (watched.paths.monitor / monitor.PAGE).read_text()
    assert "mean_area: median" in text
    assert "accuracy, estimated" in text
    assert "cannot" not in text
    assert "nobody can check" in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_a_column_of_any_name_is_escaped_on_the_page(watch):
    watched = watch()
    watched.ask(200)
    findings = watched.look()
    findings["latest"]["moved"] = ["<script>x</script>: gone"]
    findings["windows"][0]["columns"][0] |= {"column": "<script>x</script>", "matters": True}
    monitor.draw(watched.paths, findings)
    assert "<script" not in (watched.paths.monitor / monitor.PAGE).read_text()


def test_holm_holds_all_tests_together():
    assert adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_holm([]) == []


def test_probabilities_that_promise_too_much_are_bent_back():
    draw = np.random.default_rng(0)
    z = draw.normal(3, 1, 4000)
    right = (draw.random(4000) < 1 / (1 + np.exp(-0.5 * z))).astype(float)  # twice too sure
    model = ScoreModel.fit("accuracy", z[:, None], right)
    shifted = draw.normal(1, 1, 5000)
    true = (1 / (1 + np.exp(-0.5 * shifted))).mean()
    estimate = ScoreModel(**json.loads(json.dumps(vars(model)))).estimate(shifted[:, None], np.arange(5000))
    assert estimate.low < true < estimate.high
    assert abs(estimate.mean - true) < 0.03
    assert ScoreModel.fit("accuracy", z[:20, None], right[:20]) is None


def test_squared_errors_follow_what_they_depend_on():
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (3000, 2))
    squares = np.exp(1 + 0.8 * x[:, 0]) * draw.normal(0, 1, 3000) ** 2
    model = ScoreModel.fit("rmse", x, squares)
    shifted = draw.normal(1, 0.5, (5000, 2))
    true = np.exp(1 + 0.8 * shifted[:, 0]).mean()
    estimate = model.estimate(shifted, np.arange(5000))
    assert estimate.low < true < estimate.high
    assert abs(estimate.mean / true - 1) < 0.15


def test_a_reference_is_read_back_as_it_was_made(watch):
    watched = watch()
    reference = open_reference(watched.paths, VERSION)
    assert reference.metric == "accuracy"
    assert len(reference.answers) == len(watched.test)
    assert reference.rows.column_names == list(watched.model.spec.columns)


@pytest.mark.parametrize("prediction", [[[0.5, 0.2]] * 40, ["normal", "anomalous"] * 20])
def test_answers_in_other_words_than_the_target_have_no_score(random_model, tmp_path, prediction):
    random_model("sizes", tmp_path, 1)
    spec = load_model(tmp_path).spec
    sizes = pa.array(["small", "large"] * 20)
    assert find_metric(spec, pa.table({"prediction": sizes}), sizes) == "accuracy"
    answers = pa.table({"prediction": prediction})
    assert find_metric(spec, answers, sizes) == ""
    reference = Reference(spec, pa.table({"age": [0.1] * 40, "colour": ["red"] * 40}), answers, {}, None)
    assert find_changes(reference, reference.rows, answers, {}, np.arange(40), floor=0.1)


def test_windows_of_a_series_are_compared_and_have_no_score(candidates, tmp_path):
    trained, reference = Paths(candidates, "sunspots"), tmp_path / "reference"
    write_reference(reference, trained.candidate, trained.ready)
    watched = Watched(Paths(tmp_path, "sunspots"), trained, reference)
    watched.ask(200)
    latest = watched.look()["latest"]
    assert (latest["metric"], latest["estimated"]) == ("", None)
    assert latest["moved"][0].startswith("history: its values are 0.")  # the test rows are of another century


def test_what_one_window_cannot_show_several_do():
    def windows(n_windows, n_right):
        truth = {"labels": 100, "sum": float(n_right), "squares": float(n_right)}
        return [{"truth": truth, "estimate": {"mean": 0.88, "low": 0.83, "high": 0.93}}] * n_windows

    before = windows(20, 90)
    assert find_rule_change(before, "accuracy") == ""
    assert find_rule_change(before + windows(1, 80), "accuracy") == ""
    found = find_rule_change(before + windows(5, 80), "accuracy")
    assert found.startswith("accuracy is 0.8 by 400 labels where it was 0.895 by 2,100 before: ")
    assert find_rule_change(before + windows(5, 99), "accuracy") == ""  # better is no alarm


def test_answers_far_out_of_the_trained_range_are_estimated_in_doubt(watch):
    watched = watch()
    watched.ask(200)
    assert watched.look()["latest"]["unsure"] == ""
    right = watched.ask(200, change=scaled("mean_area", 10.0))
    latest = watched.look()["latest"]
    assert latest["unsure"].startswith("not to be trusted: ")
    assert latest["unsure"].endswith("% of the rows lie far out of the trained range, in mean_area")
    assert latest["estimated"]["mean"] > right.mean() + 0.1  # it is so wrong that it has to be said
    assert latest["unsure"] in (watched.paths.monitor / monitor.PAGE).read_text()


def test_the_slice_whose_answers_are_worse_is_named(watch):
    watched, config = watch(), CONFIG.model_copy(update={"slices": ["mean_area"]})
    watched.ask(400, batch=100)
    limit = np.quantile(open_reference(watched.paths, VERSION).rows["mean_area"], 2 / 3)
    other = {"benign": "malignant", "malignant": "benign"}
    log = pa.concat_tables(read_requests(watched.paths.requests))
    for place, asked in zip(watched.truth, log["asked"].to_pylist(), strict=True):
        if asked["mean_area"] > limit and place[0] in ("r2", "r3"):  # of those another class is true from now on
            watched.truth[place] = other[watched.truth[place]]
    watched.label(watched.truth)
    latest = watched.look(config)["latest"]
    assert [name.split()[1] for name in latest["slices"]] == ["up", "from", "above"]
    assert sum(one["rows"] for one in latest["slices"].values()) == 200
    (found,) = latest["slices_moved"]
    assert found.startswith("where mean_area above ")
    assert latest["slices"][found[6:].partition(":")[0]]["true"] < 0.2
    text = (watched.paths.monitor / monitor.PAGE).read_text()
    assert found in text
    assert "Slices of the newest window" in text
    (watched.paths.monitor / monitor.FILE).unlink()
    with pytest.raises(PipelineError, match=r"monitor\.slices names 'mean_are'.*mean_area"):
        watched.look(CONFIG.model_copy(update={"slices": ["mean_are"]}))


def test_columns_of_few_words_are_cut_by_themselves():
    before = pa.table({"age": [1.0, 2.0, 3.0], "plan": ["a", "b", "a"], "name": ["x", "x", "x"]})
    now = pa.table({"age": [9.0, None, 2.0], "plan": ["b", "c", None], "name": ["x", "x", "y"]})
    assert {name: mask.tolist() for name, mask in find_slices(before, now, [])} == {
        "plan = a": [False] * 3,
        "plan = b": [True, False, False],
    }
    thirds = {name: mask.tolist() for name, mask in find_slices(before, now, ["age"])}
    assert [*thirds.values()] == [[False] * 3, [False, False, True], [True, False, False]]
    assert find_far_rows(before, now) == (pytest.approx(1 / 3), ["age"])
