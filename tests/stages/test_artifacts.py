"""Stored things: whole or not at all, the same bytes for the same things, and messages where they are broken."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from evergreen.core import files
from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_directory, read_json, write_json
from evergreen.core.paths import Paths, find_root
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages import artifacts
from evergreen.stages.artifacts import folder_version, load_model

ROOT = Path(__file__).parents[2]


def test_a_folder_is_replaced_whole_and_keeps_dvcs_gitignore(tmp_path):
    folder = tmp_path / "report"
    with atomic_directory(folder) as new:
        (new / "a").write_text("old")
    (folder / ".gitignore").write_text("/a\n")
    with atomic_directory(folder) as new:
        (new / "b").write_text("new")
        assert (folder / "a").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", "b"]
    assert os.listdir(tmp_path) == ["report"]


def test_a_failure_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "a").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_directory(folder) as new:
        (new / "a").write_text((new / "none").read_text())
    assert (folder / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


def writer(folder: Path, *, exchange: bool) -> subprocess.Popen[str]:
    """A process that replaces `folder` again and again, each time with 20 files that all hold the same number."""
    code = f"""
        from pathlib import Path
        from evergreen.core import files as atomic
        if not {exchange}:
            atomic._exchange = lambda one, other: False
        atomic._sync = lambda path: None  # many rounds a second: a kill is no power failure
        number = 0
        while True:
            number += 1
            with atomic.atomic_directory(Path({str(folder)!r})) as new:
                for name in range(20):
                    (new / str(name)).write_text(str(number))
            print(number, flush=True)
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two moves"])
def test_a_killed_writer_leaves_a_whole_folder(tmp_path, exchange):
    folder, last = tmp_path / "out", 0
    for kill in range(5):
        process = writer(folder, exchange=exchange)
        assert process.stdout.readline()
        time.sleep(0.011 * kill)
        process.send_signal(signal.SIGKILL)
        process.wait()
        files._mend(folder)  # what the next run does first
        numbers = {path.read_text() for path in folder.iterdir()}
        assert len(numbers) == 1
        assert len(list(folder.iterdir())) == 20
        last = int(numbers.pop())
    assert last
    assert os.listdir(tmp_path) == ["out"]


def test_the_gap_between_two_moves_is_mended(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    old = tmp_path / f".out@{gone.pid}.1.old"
    old.mkdir()
    (old / "a").write_text("old")
    (tmp_path / f".out@{gone.pid}.1.tmp").mkdir()
    (tmp_path / f".out@{os.getppid()}.1.tmp").mkdir()  # of a living process
    files._mend(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == [f".out@{os.getppid()}.1.tmp", "out"]


def test_json_is_sorted_finite_and_replaced_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": [1.5, float("nan")], "a": "é"})
    assert path.read_text(encoding="utf-8").index('"a"') < path.read_text(encoding="utf-8").index('"b"')
    assert read_json(path) == {"a": "é", "b": [1.5, None]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path)["a"] == "é"
    assert os.listdir(path.parent) == ["a.json"]
    path.write_text('{"a": ')
    with pytest.raises(PipelineError, match=r"a\.json: not JSON .*; delete it"):
        read_json(path)


STORED = {  # what lies there → what is said of it
    "": "not JSON",
    "\0": "not JSON",
    "[]": "not what is stored there (a list)",
    "null": "not what is stored there (a NoneType)",
    "3": "not what is stored there (a int)",
    '{"rows": 3': "not JSON",
    "{}": "it lacks 'rows'",
    '{"rows": 3, "format": 2}': "written by a newer Evergreen (format 2, this one reads 1)",
    '{"rows": 3, "format": true}': "written by a newer Evergreen",
    '{"rows": 3, "format": "new"}': "written by a newer Evergreen",
    "[" * 100_000: "not JSON",
}


@pytest.mark.parametrize("text", STORED)
def test_a_stored_file_that_is_none_is_told_in_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(PipelineError) as caught:
        read_json(tmp_path / "a.json", "rows")
    assert STORED[text] in str(caught.value)
    assert str(caught.value).isprintable()
    (tmp_path / "b.json").mkdir()
    with pytest.raises(PipelineError, match=r"b\.json: cannot be read"):
        read_json(tmp_path / "b.json")


def test_a_file_without_a_format_is_of_the_first(tmp_path):
    for text in ('{"rows": 3}', '{"rows": 3, "format": 1}'):
        (tmp_path / "a.json").write_text(text)
        assert read_json(tmp_path / "a.json", "rows")["rows"] == 3


def test_versions_follow_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = folder_version(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = folder_version(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, folder_version(tmp_path)}) == 3


def test_the_root_is_found_from_below_and_missed_with_a_fix(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_root(tmp_path / "a" / "b") == tmp_path.resolve()
    (tmp_path / "dvc.yaml").unlink()
    with pytest.raises(PipelineError, match="evergreen init"):
        find_root(tmp_path / "a")
    assert Paths(tmp_path, "digits").candidate == tmp_path / "models" / "store" / "digits" / "candidate"


@pytest.fixture
def stored(tmp_path):
    """A small model of a table with numbers and a category, as train stores it."""
    table = pa.table({
        "x": [0.1, 0.4, -1.0, 2.0] * 5,
        "colour": ["red", "blue", "red", "green"] * 5,
        "kind": ["a", "b", "a", "b"] * 5,
    })  # fmt: skip
    inputs, target = fit(table, {"x": "number", "colour": "category"}, "kind", "category")
    spec = FeatureSpec("classification", inputs, target, "kind", None, {"train": 20})
    torch.manual_seed(0)
    network = build("mlp", "classification", inputs, target).eval()
    card = {"architecture": "mlp", "task": "classification", "options": {}, "spec": spec.to_json()}
    artifacts.save_model(tmp_path / "candidate", network, card)
    return tmp_path / "candidate", network, spec, table, card


def test_a_model_comes_back_as_it_was(stored, tmp_path):
    folder, network, spec, table, card = stored
    model = load_model(folder)
    batch = {name: torch.as_tensor(array) for name, array in spec.encode(table, target=False).items()}
    assert torch.equal(model.network.compute_outputs(batch), network.compute_outputs(batch))
    assert model.predict(table)[0]["prediction"] in ("a", "b")
    assert model.predict(table.slice(0, 0)) == []
    artifacts.save_model(tmp_path / "again", network, card)
    assert folder_version(tmp_path / "again") == folder_version(folder)
    assert sorted(os.listdir(folder)) == ["model.json", "weights.safetensors"]


def test_broken_models_are_told(stored):
    folder, _, _, _, card = stored
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-10])
    with pytest.raises(PipelineError, match=r"weights\.safetensors: broken .*; run the train stage again"):
        load_model(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(PipelineError, match=r"weights\.safetensors: no such file"):
        load_model(folder)
    (folder / "weights.safetensors").write_bytes(weights)
    (folder / "model.json").write_text(json.dumps({**card, "options": {"size": 2.0}}))
    with pytest.raises(PipelineError, match=r"does not match model\.json"):
        load_model(folder)
    (folder / "model.json").write_text(json.dumps({"task": "classification"}))
    with pytest.raises(PipelineError, match="it lacks 'architecture'"):
        load_model(folder)
    (folder / "model.json").unlink()
    with pytest.raises(PipelineError, match=r"model\.json: no such file"):
        load_model(folder)
