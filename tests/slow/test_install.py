"""Evergreen, installed from its wheel alone, works in a repository of somebody else's."""

from __future__ import annotations

import csv
import os
import random
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

SHIPPED = Path(__file__).resolve().parents[2]
ARCHITECTURE = '''
"""Ridges."""

import torch
from torch import Tensor, nn

from evergreen.models.base import Architecture, Batch, Inputs
from evergreen.models.layers import FlattenInputs


class Ridges(Architecture):
    """Ridge functions. In: every kind. Out: (B, 32 · size). Choose it here. At size=1: quick."""

    ACCEPTS = frozenset({"*"})

    def __init__(self, inputs: Inputs, *, size: float = 1.0) -> None:
        super().__init__()
        self.flat, self.out_features = FlattenInputs(inputs), max(4, round(32 * size))
        self.layers = nn.Sequential(nn.Linear(self.flat.width, self.out_features), nn.Tanh())

    def forward(self, batch: Batch) -> Tensor:
        return self.layers(self.flat(batch))
'''
SOURCE = '''
"""Customers, as a program of ours writes them: `ledger:FILE`."""

import csv
from collections.abc import Iterator

import pyarrow as pa

from evergreen.data import sources


class Ledger(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        with (self.root / self.name).open() as file:
            rows = list(csv.DictReader(file))
        numbers = {name: [float(row[name]) for row in rows] for name in ("age", "calls")}
        table = pa.table({**numbers, "churned": [row["churned"] for row in rows]})
        yield from sources.with_origin(table, self.name).to_batches()

    def fingerprint(self) -> str:
        return (self.root / self.name).read_text()
'''
OWN_PACKAGES = ("data", "models", "flows", "stages", "utils", "core", "cli", "pages", "evergreen_parts")
STAGES = """select: {architectures: [linear, ridges], seeds: 1, folds: 0, rungs: [3]}
tune: {time_budget_s: 0}
train: {epochs: 30}
"""


def sh(folder: Path, *command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of an sdist made of a clone without tags."""
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("built")
    listed = sh(SHIPPED, "git", "ls-files", "-co", "--exclude-standard").splitlines()
    for place in filter(lambda place: (SHIPPED / place).exists(), listed):
        (clone / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHIPPED / place, clone / place, follow_symlinks=False)
    stray = clone / "data" / "store" / "churn" / "raw"
    stray.mkdir(parents=True)
    (stray / "secret.json").write_text("{}")
    hook = "import sys; from setuptools import build_meta as hook; "
    sh(clone, sys.executable, "-c", hook + "hook.build_sdist(sys.argv[1])", out)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(out, filter="data")
    unpacked = next(path for path in out.iterdir() if path.is_dir())
    sh(unpacked, sys.executable, "-c", hook + "hook.build_wheel(sys.argv[1])", out)
    return out


@pytest.fixture(scope="module")
def evergreen(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a new environment: the wheel, and of the present environment all but its own Evergreen."""
    folder = tmp_path_factory.mktemp("environment")
    sh(folder, sys.executable, "-m", "venv", "--without-pip", "venv")
    here = next((folder / "venv").glob("lib/python*/site-packages"))
    present = next(Path(path) for path in site.getsitepackages() if path.endswith("site-packages"))
    editable = [path for path in present.iterdir() if "evergreen" in path.name]
    for path in present.iterdir():
        if path not in editable and path.suffix != ".pth":
            (here / path.name).symlink_to(path)
    wheel = next(built.glob("*.whl"))
    sh(folder, sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", here, wheel)
    command = folder / "venv" / "bin" / "evergreen"
    command.write_text(
        f"#!{folder}/venv/bin/python\nimport sys\nfrom evergreen.cli.main import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)
    return command


def test_the_wheel_holds_all_of_evergreen_and_nothing_else(built: Path) -> None:
    packed = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in packed} == {"evergreen"}
    assert {name.split("/")[0] for name in packed if name.endswith(".py")} == {"evergreen"}
    rooms = ("cli", "core", "data", "flows", "models", "pages", "stages")
    tracked = sh(SHIPPED, "git", "ls-files", *rooms).splitlines()
    wanted = {f"evergreen/{place}" for place in tracked if (SHIPPED / place).is_file()}
    assert wanted - set(packed) == set()
    assert not any("/store/" in name for name in packed)


def test_the_version_follows_tags_of_evergreen_alone(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "setup.py", tmp_path)
    ask = "import setuptools; setuptools.setup = lambda version: print(version); exec(open('setup.py').read())"

    def version() -> str:
        return sh(tmp_path, sys.executable, "-c", "__file__ = 'setup.py'; " + ask).strip()

    def commit(text: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        sh(tmp_path, "git", *who, "commit", "-q", "--allow-empty", "-m", text)

    assert version() == "0.1.0"
    sh(tmp_path, "git", "init", "-q")
    commit("one")
    assert version().startswith("0.1.0.dev0+g")
    sh(tmp_path, "git", "tag", "digits@v3.0.0")
    assert version().startswith("0.1.0.dev0+g")
    sh(tmp_path, "git", "tag", "v1.2.3")
    assert version() == "1.2.3"
    commit("two")
    sh(tmp_path, "git", "tag", "sub/digits@v4.0.0")
    assert version().startswith("1.2.4.dev1+g")
    (tmp_path / "PKG-INFO").write_text("Name: evergreen\nVersion: 9.9\n")
    assert version() == "9.9"


def test_a_missing_extra_is_one_line(evergreen: Path, tmp_path: Path) -> None:
    sh(tmp_path, "git", "init", "-q")
    sh(tmp_path, evergreen, "init")
    site_packages = next(evergreen.parents[1].glob("lib/python*/site-packages"))
    hidden = site_packages / "skimage"
    hidden.rename(site_packages / "hidden")
    try:
        done = subprocess.run(
            [evergreen, "new", "a", "--from", "skimage:segmentation", "--target", "mask"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (site_packages / "hidden").rename(hidden)
    message = "evergreen: skimage:segmentation: skimage is not installed; pip install 'evergreen[demo]'\n"
    assert (done.stderr, done.returncode) == (message, 2)


def test_a_project_elsewhere(evergreen: Path, tmp_path: Path) -> None:
    root = tmp_path / "Mein Projekt Ü"
    root.mkdir()
    sh(root, "git", "init", "-q")
    for name in OWN_PACKAGES:
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("raise SystemExit('a package of somebody else')\n")
    for place, text in {"models/architectures/ridges.py": ARCHITECTURE, "data/sources/ledger.py": SOURCE}.items():
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text(text)
    draw = random.Random(0)
    with (root / "customers.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "calls", "churned"])
        for _ in range(400):
            age, calls = draw.randrange(18, 80), draw.randrange(10)
            writer.writerow([age, calls, "yes" if (calls > 4) != (age > 50) else "no"])
    code = "import evergreen; print(evergreen.__file__)"
    assert sh(root, evergreen.with_name("python"), "-P", "-c", code).strip().startswith(str(evergreen.parents[1]))
    try:
        sh(root, evergreen, "init")
        sh(root, evergreen, "new", "churn", "--from", "ledger:customers.csv", "--target", "churned")
        _shorten(root / "pipelines" / "churn.yaml")
        assert "churn v1.0.0 is released" in sh(root, evergreen, "run", "churn")
        sh(root, evergreen, "predict", "churn", "customers.csv", "--output", "answers.csv")
        with (root / "answers.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert sum(row["prediction"] == row["churned"] for row in rows) > 300
        assert "nothing is stale" in sh(root, evergreen, "run", "churn")
    finally:
        sh(root, evergreen, "stop")
    released = root / ".evergreen" / "released" / "churn" / "v1.0.0"
    assert (released / "parts" / "architectures" / "ridges.py").read_text() == ARCHITECTURE
    (root / "answers.csv").unlink()
    for name in OWN_PACKAGES:
        (root / name / "__init__.py").unlink()
    listed = sh(root, "git", "-c", "core.quotePath=false", "status", "--porcelain", "-uall").splitlines()
    assert sorted(line[3:] for line in listed) == sorted(
        [
            *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "customers.csv", "dvc.yaml", "params.yaml"),
            *("data/sources/ledger.py", "models/architectures/ridges.py", "pipelines/churn.yaml"),
        ]
    )


def _shorten(pipeline: Path) -> None:
    """Give the stages little to do, and the project's architecture a chance."""
    lines = pipeline.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("select:", "tune:", "train:"))]
    pipeline.write_text("\n".join([*kept, STAGES]))
