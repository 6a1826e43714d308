"""A released version whose bytes are nowhere is told before any work; without it nothing is released."""

import subprocess

import pytest

from evergreen.core.errors import VersionError
from evergreen.core.paths import Paths
from evergreen.core.progress import no_progress
from evergreen.flows import update
from evergreen.stages.engines import git_commits, git_tags, project, versions
from evergreen.stages.pipeline import read

YAML = "task: classification\ncollect: {uri: rows.csv}\npreprocess: {target: kind}\n"
LOCK = """schema: '2.0'
stages:
  train@churn:
    cmd: evergreen stage train churn
    outs:
    - path: models/store/churn/candidate
      hash: md5
      md5: 0123456789abcdef0123456789abcdef.dir
"""


@pytest.fixture
def colleague(tmp_path, monkeypatch):
    """A clone with the tags of a release and neither its bytes nor a remote."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    project.create(tmp_path)
    (tmp_path / "pipelines" / "churn.yaml").write_text(YAML)
    (tmp_path / "rows.csv").write_text("a,kind\n1,x\n2,y\n")
    for name in ("churn@v1.0.0", "churn#production#1"):
        git_tags.create_tag(tmp_path, name, git_commits.commit_texts(tmp_path, {"dvc.lock": LOCK}, name), name)
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(update, "call_flow", lambda paths, flow, progress, *given, attempts: calls.append(given))
    monkeypatch.setattr(update, "describe_result", lambda *given, serve: {"serve": serve})
    return tmp_path, calls


def test_a_run_is_refused_before_it_begins(colleague):
    root, calls = colleague
    with pytest.raises(VersionError, match=r"cannot fetch churn v1\.0\.0.*no remote is set.*run churn --baseline-only"):
        update.update(root, "churn", no_progress)
    assert calls == []


def test_the_baseline_alone_goes_on_and_serves_nothing(colleague):
    root, calls = colleague
    assert update.update(root, "churn", no_progress, baseline_only=True) == {"serve": False, "ran": True}
    assert calls == [(True,)]


def test_bytes_that_are_there_are_fetched(colleague, monkeypatch):
    root, calls = colleague
    fetched = []
    monkeypatch.setattr(versions, "checkout", lambda paths, version: fetched.append((paths.name, version)))
    assert update.update(root, "churn", no_progress)["ran"]
    assert (fetched, calls) == ([("churn", "v1.0.0")], [(False,)])
    assert Paths(root, "churn").released.exists() is False


@pytest.mark.parametrize("baseline_only", [False, True])
@pytest.mark.slow
def test_what_was_compared_with_the_baseline_alone_is_neither_recorded_nor_released(
    colleague, monkeypatch, baseline_only
):
    from evergreen.flows import steps

    root, _ = colleague
    done: list[tuple] = []
    monkeypatch.setattr(steps, "perform", lambda name, *_, **more: done.append((name, more)) or {"summary": ""})
    monkeypatch.setattr(steps.format, "stale_reason", lambda *_: "it is new")
    monkeypatch.setattr(steps, "publish", lambda *_: None)
    monkeypatch.setattr(steps, "read_metrics", lambda paths: {"verdict": "release", "why": "It is better."})
    monkeypatch.setattr(steps, "served_versions", lambda root: {"churn": "v1.0.0"})
    monkeypatch.setattr(steps, "deploy_released", lambda *_: {"url": "", "failures": {}})
    monkeypatch.setattr(versions, "commit", lambda paths, name: done.append(("commit", name)))
    monkeypatch.setattr(versions, "release", lambda *_, **more: done.append(("release",)))
    run = steps.Run(read("churn", root), Paths(root, "churn"), no_progress, baseline_only)
    for step in (steps.train, steps.validate, steps.report, steps.release, steps.deploy):
        step.fn(run)
    recorded = [("train", {}), ("commit", "train"), ("report", {}), ("commit", "report")]
    if baseline_only:
        assert done == [*recorded[:2], ("validate", {"baseline_only": True}), *recorded[2:]]
    else:
        assert done == [*recorded[:2], ("validate", {}), ("commit", "validate"), *recorded[2:], ("release",)]
