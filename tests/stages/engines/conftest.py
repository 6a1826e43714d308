"""A recorded clone, made once, and copies of it to change."""

import shutil
from pathlib import Path

import pytest

from evergreen.core.paths import Paths
from tests.stages.engines.small_clone import build_clone, commit_all_but_lock


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where git knows no name."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a recorded clone, to be copied and never changed."""
    return build_clone(tmp_path_factory.mktemp("recorded") / "pattern")


@pytest.fixture
def paths(pattern: Path, tmp_path: Path) -> Paths:
    """A copy in which everything but dvc.lock is committed."""
    shutil.copytree(pattern, tmp_path / "clone", symlinks=True)
    commit_all_but_lock(tmp_path / "clone")
    return Paths(tmp_path / "clone", "alpha")
