"""A small project and a web server for the tests of flows."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.loop.hook import Hook
from evergreen.core import redaction
from evergreen.core.paths import Paths
from evergreen.stages.engines import git_commits, git_tags
from tests.flows.small_project import YAML, lock, metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A pipeline whose v1.0.0 is in production, and whose candidate proved better."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "pipelines" / "churn.yaml").write_text(YAML)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text("pipelines: [churn]\n")
    for command in ("init -q", "config user.name Ada", "config user.email ada@example.org"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    paths = Paths(tmp_path, "churn")
    first = git_commits.commit_texts(tmp_path, {"dvc.lock": lock("a1")}, "release")
    git_tags.create_tag(tmp_path, "churn@v1.0.0", first, "first")
    git_tags.create_tag(tmp_path, "churn#production#1", first, "first")
    (tmp_path / "dvc.lock").write_text(lock("a2"))
    paths.evaluation.mkdir(parents=True)
    paths.metrics.write_text(json.dumps(metrics()))
    monkeypatch.chdir(tmp_path)
    return paths


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """A web server, in whose address stands a secret of the environment."""
    monkeypatch.setenv("HOOK_KEY", "q7Zt-wellkept-0815")
    server = Hook("${HOOK_KEY}")
    yield server
    server.server.shutdown()
    redaction.forget()
