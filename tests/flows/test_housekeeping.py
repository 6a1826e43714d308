"""What is old or too much goes; what a release, a canary, a pin, a rollback or a run at work needs stays."""

import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.core.processes import exclusive_lock
from evergreen.core.retention import Entry, choose_old
from evergreen.flows import housekeeping
from evergreen.flows.housekeeping import LOG_TAIL, clean
from evergreen.stages.engines import challengers, git_commits, git_tags, released_copies
from evergreen.stages.housekeeping_config import HousekeepingConfig
from tests.flows.killed import run_killed
from tests.flows.small_project import lock
from tests.flows.test_trace import store

DEFAULTS = HousekeepingConfig()


def write(path: Path, days: float = 0.0, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for one in (path, path.parent):
        os.utime(one, (time.time() - days * 86_400,) * 2)
    return path


def test_the_old_go_and_the_oldest_of_what_is_too_much():
    day = [Entry(Path(str(age)), 10, time.time() - age * 86_400) for age in range(6)]
    assert [entry.path.name for entry in choose_old(day, 3.5)] == ["5", "4"]
    assert [entry.path.name for entry in choose_old(day, 4.5, max_bytes=25)] == ["5", "4", "3", "2"]
    assert choose_old([], 1, 0) == []


def test_old_checkpoints_go_unless_their_pipeline_runs_or_was_killed(paths):
    home, made = paths.home, {}
    for name in ("churn", "busy", "killed"):
        made[name] = (
            write(home / "runs" / name / "old" / "weights", 31).parent,
            write(home / "runs" / name / "new" / "w"),
        )
    scratch = write(home / "rows-ab12" / "x", 2), write(home / "rows-cd34" / "x", 0.5)
    write(Paths(paths.root, "killed").run_lock, text="123\n")
    with exclusive_lock(Paths(paths.root, "busy").run_lock, ""):
        freed = clean(paths.root, DEFAULTS)
    assert list(freed) == ["checkpoints"]
    assert {name: old.exists() for name, (old, _) in made.items()} == {"churn": False, "busy": True, "killed": True}
    assert all(new.exists() for _, new in made.values())
    assert [one.exists() for one in scratch] == [False, True]


def test_what_is_killed_leaves_nothing_half_under_its_name(paths, monkeypatch):
    old = write(paths.home / "runs" / "churn" / "old" / "weights", 31).parent

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(housekeeping.shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            clean(paths.root, DEFAULTS)
    (left,) = paths.home.glob("removed-*")
    assert not old.exists()
    clean(paths.root, DEFAULTS)
    assert not left.exists()


def test_a_request_log_is_kept_as_long_as_its_pipeline_says_also_unserved(paths):
    paths.pipeline.write_text(paths.pipeline.read_text() + "deploy: {log: {days: 10}}\n")
    today = datetime.now(UTC).date()
    days = {n: paths.requests / (today - timedelta(days=n)).isoformat() for n in (1, 11)}
    gone = paths.home / "requests" / "gone" / (today - timedelta(days=91)).isoformat()
    for folder in (*days.values(), gone):
        write(folder / "a.parquet")
    labels = write(paths.requests / "labels" / "1.parquet", 11), write(paths.requests / "labels" / "2.parquet", 9)
    clean(paths.root, DEFAULTS)
    assert [days[1].exists(), days[11].exists(), gone.exists()] == [True, False, False]
    assert [one.exists() for one in labels] == [False, True]


def test_copies_of_versions_that_answer_nobody_go_where_dvc_has_them(paths):
    model = write(paths.root / "model" / "weights").parent
    oid = store(paths.root, model)
    for number in range(1, 6):
        at = git_commits.commit_texts(paths.root, {"dvc.lock": lock(oid.removesuffix(".dir")) + f"# {number}\n"}, "x")
        git_tags.create_tag(paths.root, f"churn@v2.{number}.0", at, "x")
        if number < 4:
            git_tags.create_tag(paths.root, f"churn#production#{number + 1}", at, "x")
    challengers.start(paths, "v2.4.0", "canary", 0.1)
    challengers.pin(paths, "till", "v2.1.0")
    for number in range(6):
        write(paths.released / f"v2.{number}.0" / "weights", 31)
        write(paths.released / f"v2.{number}.0.parquet", 31)
    unneeded = [one.name for one in released_copies.list_unneeded(paths.root, {"churn v9.0.0"})]
    assert unneeded == ["v2.5.0", "v2.5.0.parquet"]  # v2.0.0 is no version, v2.2.0 was before the one in production
    assert [*released_copies.list_unneeded(paths.root, {"churn v2.5.0"})] == []
    assert clean(paths.root, DEFAULTS)["copies of versions"] > 0
    assert sorted(one.name for one in paths.released.glob("v*.0")) == [f"v2.{n}.0" for n in range(5)]
    write(paths.released / "v2.5.0" / "weights", 31)
    next((paths.root / ".dvc" / "cache").rglob("*.dir")).unlink()
    assert [*released_copies.list_unneeded(paths.root, set())] == []


def test_rows_of_versions_that_nobody_asks_any_more_go(paths):
    now = datetime.now(UTC)
    lasts = {"v1.0.0": 200, "v1.1.0": 40, "v1.2.0": 3}  # days ago
    windows = [
        {"version": version, "last": (now - timedelta(days=days)).isoformat()} for version, days in lasts.items()
    ]
    findings = {"format": 1, "windows": windows, "position": {}, "labels": {}, "versions": {}, "latest": None}
    write_json(paths.monitor / "monitor.json", findings)
    for version in (*lasts, "v1.3.0"):
        write(paths.monitor / version / "rows.parquet", 100)
    freed = clean(paths.root, DEFAULTS)
    assert list(freed) == ["rows of versions"]
    assert sorted(one.name for one in paths.monitor.iterdir()) == ["monitor.json", "v1.2.0"]


def test_long_logs_keep_their_end_and_a_database_gives_back_what_it_does_not_need(paths):
    log = write(paths.home / "ray.log", text="a" * 2**24 + "the end")
    short = write(paths.home / "prefect.log", text="short")
    database = paths.home / "prefect" / "prefect.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as writing:
        writing.execute("CREATE TABLE log (line TEXT)")
        writing.execute("INSERT INTO log VALUES (?)", ["b" * 2**25])
        writing.commit()
        writing.execute("DELETE FROM log")
        writing.commit()
    freed = clean(paths.root, DEFAULTS)
    assert sorted(freed) == ["Prefect's database", "logs"]
    assert log.stat().st_size == LOG_TAIL
    assert log.read_text().endswith("the end")
    assert short.read_text() == "short"
    assert database.stat().st_size < 2**20


def test_the_command_cleans_says_how_much_and_names_mistakes(paths, capsys):
    write(paths.home / "runs" / "churn" / "old" / "weights", 3, "c" * 2**21)
    assert main.main(["du", "--clean"]) == 0
    assert "freed of" not in capsys.readouterr().out
    (paths.root / "housekeeping.yaml").write_text("runs_days: 2\n")
    assert main.main(["du", "--clean"]) == 0
    assert "2.1 MB  freed of checkpoints" in capsys.readouterr().out
    (paths.root / "housekeeping.yaml").write_text("runs_days: 2\nrun_days: 3\n")
    assert main.main(["du", "--clean"]) == 2
    assert "housekeeping.yaml:2: " in capsys.readouterr().err
    (paths.root / "housekeeping.yaml").unlink()
    with exclusive_lock(paths.root / ".evergreen" / "locks" / "housekeeping", ""):
        assert main.main(["du", "--clean"]) == 2
    assert "it is being cleaned already" in capsys.readouterr().err


def test_killed_again_and_again_it_removes_what_it_would_have_and_nothing_else(paths):
    home, today = paths.home, datetime.now(UTC).date()
    old = [write(home / "runs" / "churn" / name / "weights", 31) for name in ("a", "b")]
    old += [write(home / "requests" / "gone" / (today - timedelta(days=90 + n)).isoformat() / "x", 95) for n in (1, 2)]
    old += [write(home / "rows-ab12" / "x", 2), write(paths.requests / "labels" / "1.parquet", 95)]
    kept = [write(home / "runs" / "churn" / "c" / "weights", 1), write(paths.requests / today.isoformat() / "y")]
    log = write(home / "ray.log", text="a" * 2**24 + "the end")
    n_kills = 0
    while run_killed(lambda: clean(paths.root, DEFAULTS), n_kills):
        assert log.read_text().endswith("the end")
        assert all(one.read_text() == "x" for one in kept)
        n_kills += 1
    assert n_kills > len(old)
    assert [one for one in old if one.exists()] == []
    assert log.stat().st_size == LOG_TAIL
    os.utime(home, None)
    assert [one.name for one in home.glob("removed-*") if one.stat().st_mtime < time.time() - 3600] == []
