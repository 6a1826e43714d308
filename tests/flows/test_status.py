"""What `status`, `runs` and `logs` say: problems first, nothing that is not so, from the disk alone."""

import json
import os
import re

import pytest

from evergreen.cli import main
from evergreen.cli.commands import status
from evergreen.core import processes
from evergreen.core.errors import DataError
from evergreen.flows.run_events import recorded_run
from evergreen.flows.schedule import pid_file
from tests.flows.small_project import YAML

PLAIN = YAML.replace("release: ask\n", "")


@pytest.fixture
def several(paths):
    """Pipelines in every state; `churn` waits for a person."""
    texts = {"broken": "task: [", "due": PLAIN + "schedule: 0 4 * * *\n", "late": PLAIN + "alarm_after: 1s\n"}
    for name, text in (texts | {"crashed": PLAIN, "busy": PLAIN}).items():
        (paths.root / "pipelines" / f"{name}.yaml").write_text(text)
    os.utime(paths.root / "pipelines" / "late.yaml", (0, 0))
    (paths.root / "params.yaml").write_text("pipelines: [churn, due, late, crashed, busy]\n")
    return paths


def run(paths, name: str, error: Exception | None = None) -> None:
    try:
        with recorded_run(type(paths)(paths.root, name), "schedule") as write:
            write(stage="collect", summary="569 rows", seconds=0.5)
            if error:
                raise error
    except DataError:
        pass


def shown(capsys, *arguments: str) -> str:
    assert main.main([*arguments]) == 0
    return capsys.readouterr().out


def test_problems_come_first_a_line_each(several, capsys):
    run(several, "crashed", DataError("the source is gone"))
    run(several, "due")
    with recorded_run(type(several)(several.root, "busy"), "by hand"):
        lines = shown(capsys, "status").splitlines()
    names = [line.split()[0] for line in lines[:7]]
    assert names == ["pipeline", "broken", "crashed", "late", "churn", "busy", "due"]
    states = [re.split(r"\s{2,}", line)[1] for line in lines[1:7]]
    assert states == ["mistake", "failed", "overdue", "waits", "running", "stale"]
    assert "not YAML" in lines[1]
    assert re.search(r"failed, \d s ago .*the source is gone$", lines[2])
    assert "it has not succeeded since 1970-01-01" in lines[3]
    assert re.search(r"v1\.0\.0, \d+ s .*for your word", lines[4])
    assert "since 20" in lines[5]
    assert re.search(r"none .*ok, \d s ago .*collect \(", lines[6])
    assert lines[7:] == [
        "endpoint  down; evergreen serve",
        "runs      Prefect is down",
        "watch     down, so nothing runs by schedule",
    ]


def test_the_next_run_is_told_only_where_something_watches(several, capsys):
    value = json.loads(shown(capsys, "status", "due", "--json"))
    assert (value["watch"], value["pipelines"][0]["next"]) == (None, None)
    processes.save_pid(pid_file(several.root), os.getpid())
    value = json.loads(shown(capsys, "status", "due", "--json"))
    assert value["watch"] == os.getpid()
    assert value["pipelines"][0]["next"].endswith("T04:00+00:00")


def test_one_broken_store_is_a_line_and_no_end(several, capsys):
    several.metrics.write_text("{")
    assert "not JSON" in shown(capsys, "status")


def test_watching_the_status_shows_it_again(several, monkeypatch, capsys):
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", stop)
    assert main.main(["status", "--watch"]) == 130
    assert capsys.readouterr().out.startswith("\x1b[2J\x1b[Hpipeline ")


def test_runs_and_logs_are_read_from_the_disk(several, capsys):
    assert shown(capsys, "runs", "due") == "due never ran here\n"
    run(several, "due")
    run(several, "due", DataError("the source is gone"))
    last, first = shown(capsys, "runs", "due").splitlines()
    assert re.fullmatch(r"20\S+T\S+  ok +\d+ s  schedule", first)
    assert re.fullmatch(r"20\S+T\S+  failed +\d+ s  schedule  the source is gone", last)
    assert len(shown(capsys, "runs", "due", "--last", "1").splitlines()) == 1
    log = shown(capsys, "logs", "due")
    assert re.search(r"  collect 569 rows\n", log)
    assert "Traceback" in log
    assert log.splitlines()[-1].endswith("failed: the source is gone")
    began = json.loads(shown(capsys, "runs", "due", "--json"))["runs"][-1]["started"]
    assert shown(capsys, "logs", "due", began[:10]).splitlines()[-1].endswith("failed: the source is gone")
    assert main.main(["logs", "due", "1999"]) == 2
    assert "no run of due began at 1999; its runs: evergreen runs due" in capsys.readouterr().err
    assert main.main(["logs", "deu"]) == 2
    assert "did you mean 'due'?" in capsys.readouterr().err
