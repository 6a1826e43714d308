"""A clone of the last Evergreen without versions of parts, with its stores and releases, is opened by this one."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.paths import Paths
from evergreen.stages import code_version
from evergreen.stages.artifacts import load_model
from evergreen.stages.engines import versions
from evergreen.stages.engines.dvc_graph import PARAMS, graph_text
from evergreen.stages.pipeline import read

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
OLD = "b202bea27026be269a86b0c46e00d58deb60b1be"
FILE = """task: classification
collect: {uri: rows.csv}
preprocess: {target: colour, bad_rows: 0.3}
select: {architectures: [linear]}
tune: {seconds: 0}
train: {epochs: 3}
validate: {}
"""
ASKED = {"width": [1.0, -1.0], "height": [1.0, -1.0]}
DRIVER = """
import json, pathlib, sys
import pyarrow as pa
from stages import pipeline, versions
from stages.artifacts import Paths, load_model
from stages.training import plan, worker

root = pathlib.Path.cwd()
versions.prepare(root)
for epochs in (3, 4):
    file = root / "pipelines" / "tiny.yaml"
    file.write_text(file.read_text().replace("epochs: 3", f"epochs: {epochs}"))
    made, paths = pipeline.read("tiny", root), Paths(root, "tiny")
    for stage in pipeline.STAGES:
        if versions.stale(paths, stage) is None:
            continue
        if stage == "train":  # without Ray
            worker.assemble(plan.make(made.train, paths, made.task)).run()
        pipeline.perform(stage, made, paths)
        versions.commit(paths, stage)
    version = versions.release(paths, f"{epochs} epochs")
    answers = load_model(paths.candidate).predict(pa.table(json.loads(sys.argv[1])))
    (root / f"{version}.json").write_text(json.dumps(answers))
"""


FIRST_VERSIONS = """
from evergreen.stages import code_version
evaluate = code_version._evaluate
code_version._evaluate = lambda text, node: 1 if type(value := evaluate(text, node)) is int else value
"""


def sh(root: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The old clone after two releases, with the new graph in the place of the old one."""
    if subprocess.run(["git", "cat-file", "-e", f"{OLD}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("git has no history here as far back as the last commit without versions of parts")
    root = tmp_path_factory.mktemp("upgrade") / "clone"
    sh(ROOT, "git", "clone", "-q", "--no-checkout", "--shared", str(ROOT), str(root))
    sh(root, "git", "checkout", "-q", "--detach", OLD)
    sh(root, "git", "tag", "-d", *sh(root, "git", "tag").split()) if sh(root, "git", "tag") else None
    random = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'red' if a + b > 0 else 'blue'}" for a, b in random.normal(size=(120, 2))]
    (root / "rows.csv").write_text("width,height,colour\n" + "\n".join(rows) + "\n")
    (root / "pipelines" / "tiny.yaml").write_text(FILE)
    sh(root, sys.executable, "-c", DRIVER, json.dumps(ASKED), PYTHONPATH=str(root))
    sh(root, "git", "rm", "-rqf", "data", "models", "stages", "flows", "benchmarks", "tests")
    (root / "dvc.yaml").write_text(graph_text(f"{sys.executable} -m evergreen.cli.main"))
    (root / "params.yaml").write_text(PARAMS)
    return Paths(root, "tiny")


@pytest.fixture
def clone(paths: Paths, tmp_path: Path) -> Paths:
    shutil.copytree(paths.root, tmp_path / "clone", symlinks=True)
    return Paths(tmp_path / "clone", "tiny")


@pytest.fixture(autouse=True)
def first_versions(
    paths: Paths, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every part has version 1, here and in processes: which were raised since is nothing that an upgrade loses."""
    start = tmp_path_factory.mktemp("start")
    (start / "sitecustomize.py").write_text(FIRST_VERSIONS)
    monkeypatch.setenv("PYTHONPATH", str(start))
    monkeypatch.setattr(code_version, "_evaluate", code_version._evaluate)
    exec(FIRST_VERSIONS, {})
    code_version._class_attribute.cache_clear()
    yield
    code_version._class_attribute.cache_clear()


NEW = dict.fromkeys(("validate", "report"), "never run")  # store evidence, which the old one did not


def test_nothing_is_collected_or_trained_again_after_an_upgrade(clone: Paths) -> None:
    before = (clone.root / "dvc.lock").read_text()
    assert "path: stages/train.py" in before
    assert versions.stale_reasons(clone.root, [read("tiny", clone.root)]) == {"tiny": NEW}
    after = (clone.root / "dvc.lock").read_text()
    assert "stages/" not in after
    assert len(after) < 5000
    ran = sh(clone.root, sys.executable, "-m", "dvc", "repro")
    assert re.findall(r"^Running stage '(.*)':$", ran, re.MULTILINE) == [
        f"{stage}@tiny" for stage in ("versions", *NEW)
    ]
    assert versions.stale_reasons(clone.root, [read("tiny", clone.root)]) == {"tiny": {}}
    assert (clone.root / "params.yaml").read_text() == PARAMS.replace(" []", "") + "  - tiny\n"


def test_a_setting_still_makes_stale_what_reads_it(clone: Paths) -> None:
    clone.pipeline.write_text(clone.pipeline.read_text().replace("epochs: 4", "epochs: 5"))
    reasons = versions.stale_reasons(clone.root, [read("tiny", clone.root)])
    assert reasons == {"tiny": {"train": "params train.epochs changed"} | NEW}


def test_a_version_raised_since_is_said(clone: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    part_version = code_version._part_version
    monkeypatch.setattr(
        code_version, "_part_version", lambda part, name: "2" if name == "linear" else part_version(part, name)
    )
    reasons = versions.stale_reasons(clone.root, [read("tiny", clone.root)])["tiny"]
    assert reasons == dict.fromkeys(("select", "tune", "train"), "architecture linear: version 1 → 2") | NEW


def test_what_is_not_there_is_not_carried_over(clone: Paths) -> None:
    shutil.rmtree(clone.ready)
    reasons = versions.stale_reasons(clone.root, [read("tiny", clone.root)])["tiny"]
    assert "collect" not in reasons
    assert "missing output: data/store/tiny/ready" in reasons["preprocess"]
    sh(clone.root, sys.executable, "-m", "dvc", "checkout", "preprocess@tiny")
    assert versions.stale_reasons(clone.root, [read("tiny", clone.root)]) == {"tiny": NEW}


def test_released_versions_answer_and_are_rolled_back_to(clone: Paths) -> None:
    assert [one.version for one in versions.versions(clone)] == ["v1.0.0", "v1.1.0"]
    assert versions.released(clone.root) == {"tiny": "v1.1.0"}
    assert versions.candidate_version(clone) == "v1.1.0"
    for version in ("v1.0.0", "v1.1.0"):
        folder = versions.checkout(clone, version)
        assert json.loads((folder / "model.json").read_text())["recipe"]["epochs"] == int(version[3]) + 3
        answers = load_model(folder).predict(pa.table(ASKED))
        assert answers == json.loads((clone.root / f"{version}.json").read_text())
    assert versions.rollback(clone) == "v1.0.0"
    assert versions.released(clone.root) == {"tiny": "v1.0.0"}
