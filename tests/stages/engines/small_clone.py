"""A small clone with the shipped graph whose stages are one small script: real git and real DVC, nothing learned."""

import contextlib
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from evergreen.core.paths import Paths
from evergreen.stages.engines import versions
from evergreen.stages.engines.dvc_graph import PARAMS, graph_text
from evergreen.stages.pipeline import STAGES

SHIPPED = Path(__file__).resolve().parents[3]
PERSON = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
FILE = """# Ada's own words
task: classification
collect:
  uri: sklearn:digits
preprocess: {target: digit}
select: {time_budget_s: 1}
tune:
train:
  epochs: 3  # enough
validate: {}
"""
STAGE = """
import json, pathlib, sys
*_, stage, name = sys.argv
outs = {
    "versions": [],
    "collect": ["data/store/%s/raw/part.parquet", "data/store/%s/raw/source.json"],
    "preprocess": ["data/store/%s/ready/train/part.parquet", "data/store/%s/ready/spec.json",
                   "data/store/%s/described/report.html"],
    "select": ["models/store/%s/choice/select.json"], "tune": ["models/store/%s/choice/tune.json"],
    "train": ["models/store/%s/candidate/model.json", "models/store/%s/candidate/deep/weights.safetensors"],
    "validate": ["models/store/%s/evaluation/" + file
                 for file in ("evidence.json", "predictions.parquet", "metrics.json", "plots/curve.csv")],
    "report": ["models/store/%s/report/report.html"],
}
epochs = pathlib.Path(f"pipelines/{name}.yaml").read_text().partition("epochs: ")[2][:1]
made = {
    "metrics.json": {"test": {"accuracy": {"value": float("0." + epochs)}}},
    "source.json": {"reader": "csv 1"},
    "spec.json": {"inputs": {"image": {"kind": "image"}}, "target": {"kind": "category"}},
    "select.json": {"architecture": "cnn"},
    "tune.json": {"architecture": "cnn"},
}
for out in outs[stage]:
    path = pathlib.Path(out % name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"{stage} {name} {epochs if stage in ('train', 'validate') else ''}"
    path.write_text({"curve.csv": "step,loss\\n1,0.5\\n"}.get(path.name) or (
        json.dumps(made[path.name]) if path.name in made else text))

from evergreen.core.paths import Paths
from evergreen.stages.engines.dvc_code import write_code_versions
from evergreen.stages.pipeline import read
root = pathlib.Path.cwd()
write_code_versions(read(name, root), Paths(root, name))
"""


def sh(root: Path, *command: str) -> str:
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def dvc(root: Path, *arguments: str) -> str:
    return sh(root, sys.executable, "-m", "dvc", *arguments)


def running(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.*)':$", output, re.MULTILINE)


def run(paths: Paths, stage: str) -> None:
    """Run a stage in this process, as the flow does, and record it."""
    with contextlib.chdir(paths.root), patch.object(sys, "argv", ["stage.py", stage, paths.name]):
        runpy.run_path("stage.py")
    versions.commit(paths, stage)


def edit(paths: Paths, old: str, new: str) -> None:
    paths.pipeline.write_text(paths.pipeline.read_text().replace(old, new))


def build_clone(root: Path) -> Path:
    """A clone with the shipped graph whose stages are one small script, all run and recorded; git has no commit yet."""
    (root / ".dvc").mkdir(parents=True)
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        shutil.copy(SHIPPED / name, root / name)
    (root / "dvc.yaml").write_text(graph_text(f"{sys.executable} stage.py"))
    (root / "stage.py").write_text(STAGE)
    (root / "params.yaml").write_text(PARAMS)
    (root / "pipelines").mkdir()
    (root / "pipelines" / "alpha.yaml").write_text(FILE)
    sh(root, "git", "init", "-q", "-b", "main")
    for stage in STAGES:
        run(Paths(root, "alpha"), stage)
    return root


def commit_all_but_lock(root: Path) -> None:
    sh(root, "git", "add", ".gitignore", ".dvcignore", ".dvc", "dvc.yaml", "params.yaml", "pipelines", "stage.py")
    sh(root, "git", *PERSON, "commit", "-qm", "start")
