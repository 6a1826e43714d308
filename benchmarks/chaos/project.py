"""Make a small project once, keep its state before each stage, and bring a state back for each cell."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow.csv import write_csv

from evergreen.core.paths import IMPORT_ROOT, Paths
from evergreen.data.sources import open_source
from evergreen.stages.deploy import stage as deploy
from evergreen.stages.engines.dvc_served import served_file

NAME = "tiny"
YAML = """task: classification
collect: {uri: rows}
preprocess: {target: diagnosis}
select: {architectures: [linear, mlp], seeds: 1, folds: 0, rungs: [1]}
tune: {trials: 2}
train: {epochs: 60}
validate: {}
deploy: {engine: torch}
"""
ENGINES = ("ray", "haproxy", "serve", "prefect")  # how the files of what runs on from cell to cell begin
STAGES = ("collect", "preprocess", "select", "tune", "train", "validate", "report", "release", "deploy")
RELEASING = ("release", "deploy")  # the stages whose runs end with a release
TAGS = [f"{NAME}#production#1", f"{NAME}@v1.0.0"]
IDENTITY = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]


def load_rows() -> pa.Table:
    """Load the rows that the pipeline begins with."""
    return pa.Table.from_batches(open_source("sklearn:breast_cancer", Path()).read()).drop_columns("_origin")


def code_hash() -> str:
    """Return a hash of all of Evergreen's code, in hex."""
    files = sorted(file for room in (IMPORT_ROOT / "evergreen").iterdir() for file in room.resolve().rglob("*.py"))
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=8).hexdigest()


class ChaosProject:
    """A project with one tiny pipeline, and beside it its finished state, from which every other is made."""

    def __init__(self, folder: Path) -> None:
        self.root, self.finished = folder / "project", folder / "finished"
        self.paths = Paths(self.root, NAME)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "evergreen.cli.main", *arguments]

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
        return kept | {"PYTHONPATH": str(IMPORT_ROOT), "PYTHONUNBUFFERED": "1"}

    def evergreen(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; raise subprocess.TimeoutExpired where it has none."""
        options = {"cwd": self.root, "env": self.variables, "capture_output": True, "text": True}
        return subprocess.run(self.command(*arguments), timeout=timeout_s, **options)  # type: ignore[call-overload]

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *IDENTITY, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout

    def prepare(self, run: Callable[..., object] | None = None) -> None:
        """Run the pipeline undisturbed, by default by `_check`, and keep what that leaves, unless this code has."""
        made_by, code = self.finished / ".evergreen" / "made-by", code_hash()
        if made_by.is_file() and made_by.read_text() == code:
            return
        shutil.rmtree(self.finished, ignore_errors=True)
        self.evergreen("stop") if self.root.is_dir() else None
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self.git("init", "-q")
        self._check("init")
        (self.root / "pipelines" / f"{NAME}.yaml").write_text(YAML)
        (self.root / "rows").mkdir()
        write_csv(load_rows(), self.root / "rows" / "first.csv")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "start")
        (run or self._check)("run", NAME)
        temporary = self.finished.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(self.root, temporary, symlinks=True, ignore=self._ignore_engines)
        (temporary / ".evergreen" / "made-by").write_text(code)
        temporary.rename(self.finished)

    def _check(self, *arguments: str) -> None:
        done = self.evergreen(*arguments, timeout_s=900)
        if done.returncode:
            raise RuntimeError(f"evergreen {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")

    def _ignore_engines(self, folder: str, names: list[str]) -> list[str]:
        own = Path(folder) == self.root / ".evergreen" or Path(folder) == self.finished / ".evergreen"
        return [name for name in names if name.startswith(ENGINES)] if own else []

    def restore(self, stage: str) -> None:
        """Bring back the state in which `stage` is the first that has something to do; what is up stays up."""
        for path in self.root.iterdir():
            if path.name == ".evergreen":
                left = [one for one in path.iterdir() if not one.name.startswith(ENGINES)]
            else:
                left = [path]
            for one in left:
                shutil.rmtree(one) if one.is_dir() else one.unlink()
        shutil.copytree(self.finished, self.root, symlinks=True, dirs_exist_ok=True, ignore=self._ignore_engines)
        paths = self.paths
        outs = {
            "collect": [paths.raw],
            "preprocess": [paths.ready, paths.described],
            "select": [paths.select, paths.races],
            "tune": [paths.tune, paths.trials],
            "train": [paths.candidate, paths.run_folder],
            "validate": [paths.evaluation],
            "report": [paths.report],
        }.get(stage, [paths.released])
        for out in outs:
            shutil.rmtree(out) if out.is_dir() else out.unlink()
        self.git("tag", "-d", *TAGS)
        self.git("reset", "-q", "--soft", "HEAD~1")
        self.git("reset", "-q")
        (self.root / served_file(NAME)).unlink(missing_ok=True)  # made by the release, too
        shutil.rmtree(paths.served, ignore_errors=True)
        deploy.undeploy(self.root)
        if stage not in RELEASING:  # nothing is served: that would cost each cell half a minute
            with paths.pipeline.open("a") as file:
                file.write("release: ask\n")
            self.git("commit", "-qam", "ask")

    @property
    def reference(self) -> str:
        """Return the hash of the undisturbed run's candidate."""
        return hash_candidate(Paths(self.finished, NAME))

    def stop(self) -> str:
        return self.evergreen("stop").stdout


def hash_candidate(paths: Paths) -> str:
    """Hash the trained weights and what describes them."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths.candidate.rglob("*")):
        if path.is_file() and path.name != ".gitignore":
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
