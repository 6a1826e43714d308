"""What `evergreen monitor` and `status` say of requests."""

import json

import pytest

from evergreen.cli import main
from evergreen.core.files import write_json
from evergreen.stages.monitor.findings import summarise
from evergreen.stages.monitor.stage import FILE, read_findings


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
    findings = read_findings(paths) | {"windows": [window], "latest": summarise(window, "accuracy"), "window": 200}
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
    assert "concept drift" in lines[3]
    assert lines[4] == "page: .evergreen/monitor/churn/report.html"
    value = json.loads(shown(capsys, "monitor", "churn", "--json"))
    assert value["latest"]["loss"] == {"true": 0.25, "estimated": pytest.approx(0.09)}


def test_status_shows_it_in_a_column(monitored, capsys):
    head, line, *_ = shown(capsys, "status").splitlines()
    assert line.index("1 moved, accuracy 0.910 estimated") == head.index("requests")
    assert "moved     age: median 20 before, 40 now" in shown(capsys, "status", "churn")


def test_broken_findings_are_one_line(monitored, capsys):
    (monitored.monitor / FILE).write_text("{")
    assert main.main(["monitor", "churn"]) == 2
    assert "not JSON" in capsys.readouterr().err
