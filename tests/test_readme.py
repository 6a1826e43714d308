"""What the README shows works: its examples of one more part, put in place, carry a pipeline from rows to answers."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core import parts
from evergreen.data import kinds
from evergreen.data.quality.column_distance import distance
from evergreen.data.quality.duplicates import find_near_duplicates
from evergreen.data.quality.leakage import target_predicting_columns

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", README, re.DOTALL))
PIPELINE = """\
task: median
collect: {uri: sails.npz}
preprocess: {target: knots, kinds: {wind: angle}}
select: {}
tune: {}
train: {}
validate: {}
deploy: {}
"""
LIFE = """
import json, sys
from pathlib import Path
from evergreen.data.feed.batches import InMemoryBatches, load_encoded_split, load_split
from evergreen.models.registry import buildable, build
from evergreen.models.training.config import TrainingConfig
from evergreen.models.training.trainer import Trainer
from evergreen.stages import pipeline
from evergreen.stages.collect import stage as collect
from evergreen.stages.preprocess import stage as preprocess
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import load_model, save_model

paths = Paths(Path.cwd(), "sails")
asked = pipeline.read("sails", paths.root)
collect.run(asked.collect, paths, task=asked.task)
preprocess.run(asked.preprocess, paths, task=asked.task)
spec, test = load_split(paths.ready, "test")
train, validation = load_encoded_split(paths.ready, "train"), load_encoded_split(paths.ready, "validation")
network = build("fourier", "median", spec.inputs, spec.target, size=0.5)
feed = InMemoryBatches(train, 32, seed=0, shuffle=True)
loop = Trainer(network, feed, validation, TrainingConfig(epochs=30, learning_rate=0.01))
loop.run()
network.load_state_dict(loop.best_state())
card = {"architecture": "fourier", "task": "median", "options": {"size": 0.5}, "spec": spec.to_json()}
save_model(paths.candidate, network, card)
row = spec.parse_request([{"wind": 270, "sail": 20}], "the request")
print(json.dumps({
    "buildable": buildable(spec.inputs), "inputs": list(spec.inputs), "history": loop.history,
    "answer": load_model(paths.candidate).predict(row), "origin": test.column("_origin")[0].as_py(),
}))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with the README's files added and a data set that they suit."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for place in listed.stdout.split("\n"):
        if place and ((ROOT / place).is_file() or (ROOT / place).is_symlink()):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / place, folder / place, follow_symlinks=False)
    for place, text in EXAMPLES.items():
        assert not (folder / place).exists(), f"{place} is there already: choose another example"
        (folder / place).write_text(text, encoding="utf-8")
    draw = random.Random(0)
    rows = [{"wind": draw.randrange(360), "sail": draw.randrange(10, 40)} for _ in range(600)]
    knots = [row["sail"] * (1.2 - math.cos(math.radians(row["wind"]))) / 8 for row in rows]
    columns = {name: np.array([row[name] for row in rows]) for name in ("wind", "sail")}
    np.savez(folder / "sails.npz", **columns, knots=np.array(knots))
    (folder / "pipelines" / "sails.yaml").write_text(PIPELINE)
    return folder


def python(clone: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_one_example_of_each_part() -> None:
    rooms = sorted(str(Path(place).parent) for place in EXAMPLES)
    assert rooms == ["data/kinds", "data/sources", "models/architectures", "models/tasks"]


@pytest.mark.slow
def test_the_examples_learn_together(clone: Path) -> None:
    found = json.loads(python(clone, "-c", LIFE))
    assert found["buildable"][0] == "linear"
    assert {"fourier", "mlp"} <= set(found["buildable"])
    assert found["inputs"] == ["angle", "number"] or found["inputs"] == ["number", "angle"]
    assert found["origin"].startswith("sails.npz#")
    assert found["history"][-1]["r2"] > 0.9
    assert found["answer"][0]["prediction"] == pytest.approx(20 * 1.2 / 8, abs=0.6)


def test_the_new_kind_is_profiled_compared_and_shown_from_its_one_file() -> None:
    parts.adopt({"kinds/angle": EXAMPLES["data/kinds/angle.py"]})
    try:
        draw = np.random.default_rng(0)
        winds = {f"wind {number}": draw.uniform(0, 360, 600) for number in range(6)}
        side = np.where(winds["wind 0"] < 180, "east", "west")
        table = pa.table(winds | {"side": side})
        train, held_out = table.slice(0, 400), table.slice(400)
        angles = dict.fromkeys(winds, "angle")
        copies = pa.concat_tables([train, held_out.slice(0, 3)])
        found = find_near_duplicates(held_out, copies, angles)
        assert found is not None
        assert [(one.row, one.match) for one in found] == [(0, 400), (1, 401), (2, 402)]
        (leak,) = target_predicting_columns(train, held_out, angles, "side", "category")
        assert leak.columns == ["wind 0"]
        angle, (one, two) = kinds.find("angle"), (pa.array([10.0, 20, 30]), pa.array([200.0, 210, 220]))
        assert distance(one, two, "angle") == 1
        assert angle.describe_drift(one, two, ("then", "now")) == "median 20 then, 210 now"
        assert angle.profile(one) == {"low": 10, "high": 30}
        assert angle.measure(one).tolist() == [10, 20, 30]
    finally:
        parts.adopt({})


@pytest.mark.slow
def test_the_sweep_finds_the_new_architecture_and_task(clone: Path) -> None:
    told = python(
        clone, "-m", "pytest", "tests/models/test_sweep.py", "-k", "fourier or median", "-p", "no:cacheprovider"
    )
    assert re.search(r"\b[1-9]\d* passed", told), told


def test_the_tree_names_what_is_there() -> None:
    tree = re.search(r"## The tree\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    for line in tree.group(1).splitlines():
        assert (ROOT / line.split()[0]).exists(), line


def test_the_six_files_to_read_first_exist() -> None:
    section = README.split("## Read these six files first")[1].split("\n## ")[0]
    files = re.findall(r"^\d\. `(\S+)`", section, re.MULTILINE)
    assert len(files) == 6
    assert all((ROOT / place).is_file() for place in files)
