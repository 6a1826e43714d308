"""Evergreen, installed from its wheel alone: all that README and docs show runs, in a repository of somebody else's."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import wave
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evergreen.core.paths import Paths
from evergreen.stages.deploy import api_keys
from evergreen.stages.request_files import read_requests

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<kind>sh|python)\n(?P<code>.*?)^```", re.S | re.M)
NOT_RUN = 21  # blocks with a reason in the page's source
GUIDES = ("collect", "prepare", "training", "parts", "serving", "releases", "operating")
DOCS = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *DOCS]
SHORT = (
    "s/^select: .*/select: {architectures: [linear, ridges], seeds: 1, folds: 0, rungs: [1]}/;"
    " s/^tune: .*/tune: {time_budget_s: 0}/"
)
COMMAND = """#!/bin/sh
{python} -c 'import sys; from evergreen.cli.main import main; sys.exit(main())' "$@" || exit $?
[ "$1" != new ] || sed -i '{short}' pipelines/*.yaml
"""
CURL = """#!/bin/bash
port=$(grep -o '"http": *[0-9]*' .evergreen/serve.json | grep -o '[0-9]*$')
exec {curl} --fail "${{@/127.0.0.1:8000/127.0.0.1:$port}}"
"""
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


def sh(folder: Path, *command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def script(page: str) -> str:
    """The page's commands as one script of bash; Python is one process a block."""
    parts = ["set -euo pipefail"]
    for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        if not block["why"]:
            code, file = block["code"].replace(" …", ""), re.match(r"# ((\S+)/\S+\.py)\n", block["code"])
            run = f"mkdir -p {file[2]}; cat > {file[1]}" if file else "python -"
            parts.append(code if block["kind"] == "sh" else f"{run} <<'BLOCK'\n{code}BLOCK")
    return "\n".join(parts)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of an sdist made of a clone without tags."""
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("built")
    listed = sh(ROOT, "git", "ls-files", "-co", "--exclude-standard").splitlines()
    for place in filter(lambda place: (ROOT / place).exists(), listed):
        (clone / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, clone / place, follow_symlinks=False)
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
def programs(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment: the wheel, and of the present environment all but its own Evergreen."""
    folder = tmp_path_factory.mktemp("environment")
    sh(folder, sys.executable, "-m", "venv", "--without-pip", "venv")
    here = next((folder / "venv").glob("lib/python*/site-packages"))
    present = next(Path(path) for path in site.getsitepackages() if path.endswith("site-packages"))
    for path in present.iterdir():
        if "evergreen" not in path.name and path.suffix != ".pth":
            (here / path.name).symlink_to(path)
    wheel = next(built.glob("*.whl"))
    sh(folder, sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", here, wheel)
    texts = {"evergreen": COMMAND, "curl": CURL}
    for name, text in texts.items():
        place = folder / "venv" / "bin" / name
        place.write_text(text.format(python=place.with_name("python"), curl=shutil.which("curl"), short=SHORT))
        place.chmod(0o755)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def shell(programs: Path) -> Callable[[str, Path], str]:
    """Runs a page's script in a folder, with the new environment's programs on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_", "PYTHON"))}
    variables = kept | {"PATH": f"{programs}:{kept['PATH']}"}
    variables |= {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def run(page: str, folder: Path) -> str:
        done = subprocess.run(["bash", "-c", script(page)], cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def shop(shell: Callable[[str, Path], str], programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tutorial's project after the tutorial; it has packages and parts of its own, and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("docs") / "Mein Projekt Ü"
    shop = folder / "shop"
    for name in OWN_PACKAGES:
        (shop / name).mkdir(parents=True)
        (shop / name / "__init__.py").write_text("raise SystemExit('a package of somebody else')\n")
    for place, text in {"models/architectures/ridges.py": ARCHITECTURE, "data/sources/ledger.py": SOURCE}.items():
        (shop / place).parent.mkdir(exist_ok=True)
        (shop / place).write_text(text)
    try:
        said = shell("docs/tutorial.md", folder)
        assert "churn v1.0.0 is released" in said
        assert "nothing is stale" in said
        yield shop
    finally:
        sh(shop, programs / "evergreen", "stop")


def test_the_wheel_holds_all_of_evergreen_and_nothing_else(built: Path) -> None:
    packed = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in packed} == {"evergreen"}
    assert {name.split("/")[0] for name in packed if name.endswith(".py")} == {"evergreen"}
    rooms = ("cli", "core", "data", "flows", "models", "pages", "stages")
    tracked = sh(ROOT, "git", "ls-files", *rooms).splitlines()
    wanted = {f"evergreen/{place}" for place in tracked if (ROOT / place).is_file()}
    assert wanted - set(packed) == set()
    assert not any("/store/" in name for name in packed)


def test_the_version_follows_tags_of_evergreen_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "setup.py", tmp_path)
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


def test_a_missing_extra_is_one_line(programs: Path, tmp_path: Path) -> None:
    sh(tmp_path, "git", "init", "-q")
    sh(tmp_path, programs / "evergreen", "init")
    site_packages = next(programs.parent.glob("lib/python*/site-packages"))
    hidden = site_packages / "skimage"
    hidden.rename(site_packages / "hidden")
    try:
        done = subprocess.run(
            [programs / "evergreen", "new", "a", "--from", "skimage:segmentation", "--target", "mask"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (site_packages / "hidden").rename(hidden)
    message = "evergreen: skimage:segmentation: skimage is not installed; pip install 'evergreen[demo]'\n"
    assert (done.stderr, done.returncode) == (message, 2)


def test_the_tutorial_s_project_keeps_what_a_person_would_commit(shop: Path, programs: Path) -> None:
    code = "import evergreen; print(evergreen.__file__)"
    assert sh(shop, programs / "python", "-P", "-c", code).strip().startswith(str(programs.parent))
    own = [f"{name}/__init__.py" for name in OWN_PACKAGES]
    own += ["data/sources/ledger.py", "models/architectures/ridges.py", "customers.csv", "new.csv", "scored.csv"]
    made = [".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "dvc.lock", "dvc.yaml", "params.yaml"]
    made += ["pipelines/churn.dvc", "pipelines/churn.yaml"]
    assert sh(shop, "git", "ls-files").splitlines() == sorted([*own, *made])
    assert sh(shop, "git", "status", "--porcelain") == ""


def test_parts_of_the_project_are_found_and_travel(shop: Path, programs: Path) -> None:
    raced = json.loads((Paths(shop, "churn").select).read_text())
    assert {entry["architecture"] for entry in raced["leaderboard"]} == {"linear", "ridges"}
    released = shop / ".evergreen" / "released" / "churn" / "v1.0.0"
    carried = {path.name for path in (released / "parts").glob("architectures/*")}
    assert carried == ({"ridges.py"} if raced["architecture"] == "ridges" else set())
    sh(shop, programs / "evergreen", "new", "ledger", "--from", "ledger:customers.csv", "--target", "churned")
    sh(shop, programs / "evergreen", "stage", "collect", "ledger")
    assert list((shop / "data" / "store" / "ledger" / "raw").glob("*.parquet"))
    (shop / "pipelines" / "ledger.yaml").unlink()
    shutil.rmtree(shop / "data" / "store" / "ledger")


def test_the_readme_shows_what_the_tutorial_runs() -> None:
    shown = [
        line.partition(" #")[0].strip() for line in script("README.md").splitlines() if line.startswith("evergreen ")
    ]
    assert len(shown) == 4
    assert set(shown) <= set(script("docs/tutorial.md").splitlines())


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_s_commands_run(guide, shell, shop) -> None:
    if guide == "collect":
        make_folders(shop)
    shell(f"docs/guides/{guide}.md", shop)


def test_the_other_pages_commands_run(shell, shop, programs) -> None:
    for page in DOCS:
        if page not in ("docs/tutorial.md", *(f"docs/guides/{guide}.md" for guide in GUIDES)):
            shell(page, shop)
    shown = re.search(r"```python\n(import evergreen\n.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    sh(shop, programs / "python", "-c", f"X, y = [[0.0], [1.0]] * 20, ['a', 'b'] * 20\n{shown[1]}")


def test_what_is_not_run_says_why() -> None:
    blocks = [block for page in PAGES for block in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))]
    assert sum(bool(block["why"]) for block in blocks) == NOT_RUN


def test_a_lost_machine_comes_back_from_git_remote_and_backup(shop: Path, programs: Path, tmp_path: Path) -> None:
    evergreen, back = programs / "evergreen", tmp_path / "new machine"
    sh(tmp_path, "git", "init", "-q", "--bare", "shop.git")
    sh(shop, "git", "push", "-q", "--follow-tags", tmp_path / "shop.git", "HEAD:refs/heads/main")
    sh(shop, evergreen, "dvc", "remote", "add", "-q", "-f", "--local", "-d", "store", tmp_path / "remote")
    sh(shop, evergreen, "dvc", "push", "-q", "--all-tags")
    sh(shop, evergreen, "predict", "churn", "new.csv", "--output", tmp_path / "before.csv")
    key = sh(shop, evergreen, "keys", "add", "till").splitlines()[0]
    sh(shop, evergreen, "backup", tmp_path / "shop.backup.tar.gz")
    sh(tmp_path, "git", "clone", "-q", "-b", "main", "shop.git", back)
    sh(back, evergreen, "restore", tmp_path / "shop.backup.tar.gz")
    sh(back, evergreen, "predict", "churn", shop / "new.csv", "--output", tmp_path / "after.csv")
    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    doorkeeper = api_keys.Doorkeeper(api_keys.keys_file(back))
    assert doorkeeper.identify({"x-api-key": key}).name == "till"
    logged = [sum(map(len, read_requests(Paths(root, "churn").requests))) for root in (shop, back)]
    assert logged[0] == logged[1] > 0


def make_folders(shop: Path) -> None:
    """Folders of images, texts, recordings and a network, as small as serves."""
    draw = np.random.default_rng(0)

    def put(path: str, data: bytes) -> None:
        (shop / path).parent.mkdir(parents=True, exist_ok=True)
        (shop / path).write_bytes(data)

    for number in range(24):
        image, sound = io.BytesIO(), io.BytesIO()
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(image, "PNG")
        with wave.open(sound, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(draw.integers(-9000, 9000, 4000, dtype=np.int16).tobytes())
        put(f"photos/{('cat', 'dog')[number % 2]}/{number}.png", image.getvalue())
        put(f"recordings/{('engine', 'horn')[number % 2]}/{number}.wav", sound.getvalue())
        put(f"articles/{('sport', 'science')[number % 2]}/{number}.txt", f"Report {number} of a long day".encode())
    edges = "".join(f"{number},{(number * 7 + 1) % 24}\n" for number in range(24))
    put("network/edges.csv", f"source,target\n{edges}".encode())
    put("network/nodes.csv", ("id,age,label\n" + "".join(f"{n},{n % 5},{'ab'[n % 2]}\n" for n in range(24))).encode())
