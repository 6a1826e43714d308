"""What `evergreen monitor` and `status` say of requests."""

import json

import pytest

from evergreen.cli import main
from evergreen.core.config import build
from evergreen.core.files import write_json, write_text
from evergreen.flows.monitoring import BEGUN, count_statuses, reason_to_run, remember_run
from evergreen.stages.monitor.findings import summarise
from evergreen.stages.monitor.stage import FILE, read_findings, run
from evergreen.stages.operation import MonitorConfig, RetrainConfig


def shown(capsys, *arguments: str) -> str:
    assert main.main([*arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def monitored(paths):
    """Findings of one window, in which a column moved."""
    window = {
        "version": "v1.0.0",
        "rows": 200,
        "first": "2026-03-01T00:00:00+00:00",
        "last": "2026-03-01T09:00:00+00:00",
    }
    column = {"column": "age", "distance": 0.4, "p": 1e-9, "matters": True, "text": "median 20 before, 40 now"}
    window |= {"moved": ["age: median 20 before, 40 now"], "columns": [column | {"is_answer": False}], "spans": {}}
    window |= {
        "estimate": {"mean": 0.91, "low": 0.88, "high": 0.94},
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
    }
    window |= {"truth": {"labels": 40, "sum": 30.0, "squares": 30.0}}
    findings = read_findings(paths) | {"windows": [window], "latest": summarise([window], "accuracy"), "window": 200}
    findings["versions"] = {"v1.0.0": {"metric": "accuracy", "problem": ""}}
    write_json(paths.monitor / FILE, findings, sort=False)
    return paths


def test_nothing_is_logged_yet(paths, capsys):
    assert "no requests are logged yet" in shown(capsys, "monitor", "churn")
    assert (paths.monitor / "report.html").is_file()


def test_it_says_what_moved_and_how_good_the_answers_are(monitored, capsys):
    lines = shown(capsys, "monitor", "churn").splitlines()
    assert lines[0] == "v1.0.0, 2026-03-01T00:00 to 2026-03-01T09:00:"
    assert lines[1] == "  moved: age: median 20 before, 40 now"
    assert lines[2] == "  accuracy 0.910 estimated (0.880 to 0.940), 0.750 true (40 labels)"
    assert read_findings(monitored)["latest"]["rows_a_day"] == round(200 * 24 / 9)
    assert "concept drift" in lines[3]
    assert lines[4] == "page: .evergreen/monitor/churn/report.html"
    value = json.loads(shown(capsys, "monitor", "churn", "--json"))
    assert value["latest"]["loss"] == {"true": 0.25, "estimated": pytest.approx(0.09)}


@pytest.mark.slow
def test_status_shows_it_in_a_column(monitored, capsys):
    head, line, *_ = shown(capsys, "status").splitlines()
    assert line.index("1 moved, accuracy 0.910 estimated") == head.index("requests")
    assert "moved     age: median 20 before, 40 now" in shown(capsys, "status", "churn")


def test_broken_findings_are_one_line(monitored, capsys):
    (monitored.monitor / FILE).write_text("{")
    assert main.main(["monitor", "churn"]) == 2
    assert "not JSON" in capsys.readouterr().err


def test_what_moved_is_told_once_until_it_was_calm(monitored, hook, capsys):
    (monitored.root / "notify.yaml").write_text(f"to: ['{hook.address}']\n")
    for _ in range(2):
        shown(capsys, "monitor", "churn")
    assert hook.titles == ["Evergreen: churn drift"]
    assert "age: median 20 before, 40 now" in hook.bodies[0]["message"]
    assert hook.bodies[0]["type"] == "warning"
    restless = read_findings(monitored)
    calm = restless["windows"][0] | {"moved": [], "truth": {"labels": 0, "sum": 0.0, "squares": 0.0}}
    write_json(monitored.monitor / FILE, restless | {"windows": [calm]}, sort=False)
    shown(capsys, "monitor", "churn")
    write_json(monitored.monitor / FILE, restless, sort=False)
    shown(capsys, "monitor", "churn")
    assert hook.titles == ["Evergreen: churn drift"] * 2


def test_labels_that_contradict_the_estimate_are_told(monitored, capsys):
    findings = read_findings(monitored)
    findings["windows"][0] |= {"moved": [], "truth": {"labels": 40, "sum": 16.0, "squares": 16.0}}
    write_json(monitored.monitor / FILE, findings, sort=False)
    text = shown(capsys, "monitor", "churn")
    assert "accuracy is 0.4 by 40 labels where 0.91 was estimated: the rule may have changed" in text
    assert "another rule, accuracy" in shown(capsys, "status")


def test_a_run_begins_once_for_a_reason(monitored):
    latest = read_findings(monitored)["latest"]

    def reason(version="v1.0.0", **retrain):
        return reason_to_run(build(RetrainConfig, retrain, "retrain"), monitored, latest | {"version": version})

    assert reason() == ""
    assert reason(drift=True) == "drift"
    assert reason(loss=0.3, drift=True) == "drift"
    assert reason(loss=0.2, drift=True) == "loss"
    assert reason(loss=0.2) == "loss"
    remember_run(monitored, "v1.0.0", "drift")
    assert reason(drift=True) == ""
    assert reason(loss=0.2) == "loss"
    assert reason("v1.1.0", drift=True) == "drift"
    assert reason(drift=True, min_distance="0s") == "drift"
    for number, expected in enumerate(("drift", "drift", "")):
        died = {"format": 1, "started": f"2026-03-0{number + 1}T00:00:00+00:00", "trigger": "drift", "process": None}
        write_text(monitored.home / "history" / "churn" / f"2026030{number}T0.jsonl", json.dumps(died))
        assert reason(drift=True) == expected
    begun = json.loads((monitored.monitor / BEGUN).read_text()) | {"at": "2026-01-01T00:00:00+00:00"}
    write_json(monitored.monitor / BEGUN, begun)
    assert reason(drift=True) == "drift"
    assert reason_to_run(RetrainConfig(drift=True), monitored, None) == ""


def test_how_requests_ended_is_counted_between_looks(paths, capsys):
    text = """# TYPE evergreen_requests_total counter
evergreen_requests_total{pipeline="churn",version="v1.0.0",role="production",status="200",replica="a"} 90
evergreen_requests_total{pipeline="churn",version="v1.1.0",role="production",status="200",replica="b"} 8
evergreen_requests_total{pipeline="churn",version="v1.1.0",role="production",status="500",replica="b"} 2
evergreen_requests_total{pipeline="prices",version="v1.0.0",role="production",status="500",replica="b"} 7
"""
    counts = count_statuses(text, "churn")
    assert counts == {"200": 98, "500": 2}
    for statuses, newest in (
        (counts, {"answered": 98, "refused": 0, "failed": 2}),
        ({"200": 198, "422": 5, "500": 2}, {"answered": 100, "refused": 5, "failed": 0}),
        (None, {"answered": 100, "refused": 5, "failed": 0}),
        ({"200": 7}, {"answered": 7, "refused": 0, "failed": 0}),  # it began anew
    ):
        assert run(MonitorConfig(), paths, statuses=statuses)["statuses"]["newest"] == newest
    assert "requests since the look before: 7 answered" in shown(capsys, "monitor", "churn")
