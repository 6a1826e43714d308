"""What a run leaves on the disk, and what people hear of it: real git, real messages, no engine."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from evergreen.cli import main
from evergreen.core.errors import DataError
from evergreen.core.processes import exclusive_lock
from evergreen.flows import run_log
from evergreen.flows.run_events import find_overdue, recorded_run, tell_overdue
from evergreen.stages.engines import versions
from evergreen.stages.pipeline import read
from tests.flows.small_project import YAML


@pytest.fixture
def told(paths, hook):
    """The titles of the messages that the project's people got."""
    (paths.root / "notify.yaml").write_text(f"to: ['{hook.address}']\nmax_per_hour: 100\n")

    def titles() -> list[str]:
        return [body["title"].removeprefix("Evergreen: ") for body in hook.bodies]

    return titles


def run(paths, error: BaseException | None = None, trigger: str = "schedule") -> None:
    try:
        with recorded_run(paths, trigger) as write:
            write(stage="train", summary="60 epochs", seconds=1.5)
            if error:
                raise error
    except BaseException as raised:
        if raised is not error:
            raise


def test_a_run_is_on_the_disk(paths, told):
    run(paths)
    run(paths, ZeroDivisionError("by zero"), trigger="by hand")
    run(paths, KeyboardInterrupt())
    third, second, first = run_log.read_runs(paths)
    assert [(one.trigger, one.end, one.why) for one in (first, second, third)] == [
        ("schedule", "ok", ""),
        ("by hand", "failed", "ZeroDivisionError: by zero"),
        ("schedule", "cancelled", "interrupted"),
    ]
    assert datetime.fromisoformat(first.started).tzinfo == UTC
    assert first.started <= first.ended
    assert first.lines[1]["summary"] == "60 epochs"
    assert "Traceback" in second.lines[-2]["traceback"]
    files = list((paths.home / "history" / "churn").iterdir())
    assert len(files) == 3
    assert all(json.loads(file.read_text().splitlines()[0])["format"] == 1 for file in files)


def test_a_killed_run_died_and_a_living_one_runs(paths, told):
    code = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom evergreen.core.paths import Paths\n"
        "from evergreen.flows.run_events import recorded_run\n"
        "with recorded_run(Paths(Path.cwd(), 'churn'), 'schedule'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=paths.root, check=False, env=os.environ)
    (record,) = run_log.read_runs(paths)
    assert (record.end, record.ended) == ("died", "")
    run(paths)
    assert told() == ["churn failed", "2 events: churn recovered, churn waiting"]
    with exclusive_lock(paths.run_lock, "busy"), recorded_run(paths, "by hand"):
        assert next(run_log.read_runs(paths)).end == "running"


def test_a_line_that_was_cut_off_is_passed_over(paths):
    with run_log.record_run(paths, "schedule"):
        pass
    (file,) = (paths.home / "history" / "churn").iterdir()
    text = file.read_text()
    file.write_text(text[: len(text) - 20].replace(f'"pid": {os.getpid()}', '"pid": 1'))
    (record,) = run_log.read_runs(paths)
    assert record.end == "died"
    file.write_text("")
    assert list(run_log.read_runs(paths)) == []


def test_no_secret_is_recorded_and_every_line_stays_whole(paths):
    run(paths, ValueError('no such thing: token="hunter2" and more'))
    (file,) = (paths.home / "history" / "churn").iterdir()
    assert "hunter2" not in file.read_text()
    record = next(run_log.read_runs(paths))
    assert (record.end, "***" in record.why, len(record.lines)) == ("failed", True, 4)


def test_old_runs_are_removed(paths, monkeypatch):
    monkeypatch.setattr(run_log, "MAX_KEPT", 3)
    for number in range(5):
        with run_log.record_run(paths, str(number)):
            pass
    assert [one.trigger for one in run_log.read_runs(paths)] == ["4", "3", "2"]


def test_people_hear_once_that_it_failed_and_once_that_it_recovered(paths, told, hook):
    (paths.root / "pipelines" / "churn.yaml").write_text(YAML.replace("release: ask", "release: auto"))
    run(paths)
    assert told() == []
    run(paths, DataError("the source is gone (3 tries)"))
    run(paths, DataError("the source is gone (4 tries)"))
    run(paths, KeyboardInterrupt())
    assert told() == ["churn failed"]
    assert "the source is gone" in hook.bodies[0]["message"]
    run(paths)
    run(paths)
    assert told() == ["churn failed", "churn recovered"]
    run(paths, DataError("the source is gone (3 tries)"))
    assert told()[2:] == ["churn failed"]


def test_people_hear_that_a_candidate_waits_until_somebody_decides(paths, told, hook):
    run(paths)
    run(paths)
    assert told() == ["churn waiting"]
    text = hook.bodies[0]["message"]
    assert "evergreen approve churn, or evergreen reject churn --reason" in text
    assert "It is better." in text
    assert "report.html" in text
    assert main.main(["reject", "churn", "--reason", "no"]) == 0
    run(paths)
    assert told() == ["churn waiting"]


def test_people_hear_what_goes_into_service(paths, told, monkeypatch):
    monkeypatch.setattr(versions, "_say_notes", lambda *_: None)  # the project has no DVC repository
    with recorded_run(paths, "approve"):
        versions.release(paths, "better")
    with recorded_run(paths, "rollback"):
        versions.rollback(paths)
    with recorded_run(paths, "approve"):
        versions.release(paths, "again", again=True)
    assert told() == ["churn released", "churn rolled back", "churn released"]


def test_a_decision_is_no_success_of_the_pipeline_and_its_mistake_no_failure(paths, told):
    paths.pipeline.write_text(YAML.replace("release: ask", "release: auto"))
    run(paths, DataError("no earlier version"), trigger="rollback")
    assert told() == []
    run(paths, DataError("the source is gone"))
    run(paths, trigger="approve")
    assert told() == ["churn failed"]
    run(paths)
    assert told() == ["churn failed", "churn recovered"]


def test_a_run_says_what_came_of_it(paths):
    with run_log.record_run(paths, "schedule") as write:
        write(stage="release", summary="v1.0.0 stays released: it is worse")
    assert next(run_log.read_runs(paths)).why == "v1.0.0 stays released: it is worse"
    with run_log.record_run(paths, "schedule") as write:
        write(stage="retrain", summary="there are no new rows, so nothing is trained")
        write(stage="release", summary="v1.0.0 stays released: it is worse")
    assert next(run_log.read_runs(paths)).why == "there are no new rows, so nothing is trained"


def test_a_broken_yaml_is_a_failure_that_the_project_hears_of(paths, told):
    paths.pipeline.write_text("task: [")
    run(paths, DataError("pipelines/churn.yaml:1: not YAML"))
    assert told() == ["churn failed"]


def test_a_message_that_cannot_be_sent_fails_no_run(paths, told, hook, capsys):
    hook.server.shutdown()
    hook.server.server_close()
    run(paths)
    assert next(run_log.read_runs(paths)).end == "ok"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evergreen: json://127.0.0.1:")
    (paths.root / "notify.yaml").write_text("to: 5\n")
    run(paths)
    assert "evergreen: no message was sent: notify.yaml:1: to must be a list" in capsys.readouterr().err


def test_what_has_not_succeeded_for_long_is_an_alarm_of_its_own(paths, told, capsys):
    paths.pipeline.write_text(YAML.replace("release: ask", "release: auto") + "alarm_after: 3 days\n")
    pipeline = read("churn", paths.root)
    assert find_overdue(pipeline, paths) == ""
    run(paths)
    run(paths, DataError("the source is gone"))
    (good, bad) = sorted((paths.home / "history" / "churn").iterdir())
    days = {good: 4, bad: 1}
    for file, age in days.items():
        then = datetime.fromtimestamp(time.time() - age * 86_400, UTC).isoformat(timespec="seconds")
        lines = file.read_text().splitlines()
        file.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"started": then}), *lines[1:]]))
    assert find_overdue(pipeline, paths).startswith("it has not succeeded since 20")
    for _ in range(3):
        assert tell_overdue(paths.root) == []
    assert told() == ["churn failed", "churn overdue"]
    run(paths)
    assert told()[2:] == ["churn recovered"]
    assert main.main(["notify"]) == 0
    assert capsys.readouterr().out == "nothing is left to send\n"


def test_one_broken_yaml_keeps_no_other_alarm_back(paths, told):
    (paths.root / "pipelines" / "another.yaml").write_text("task: [")
    paths.pipeline.write_text(YAML + "alarm_after: 1s\n")
    old = time.time() - 9
    os.utime(paths.pipeline, (old, old))
    (problem,) = tell_overdue(paths.root)
    assert problem.startswith("another: pipelines/another.yaml:")
    assert told() == ["churn overdue"]
