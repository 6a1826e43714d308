"""What computes a released network: the graph of ONNX is admitted where it answers as torch does, and torch always."""

import random

import pytest
import torch

from evergreen.core.errors import PipelineError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import first_rows
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages.artifacts import load_model, save_model
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.engines import onnx
from evergreen.stages.deploy.export import choose_engine
from evergreen.stages.deploy.loaded_version import LoadedVersion
from evergreen.stages.preprocess import stage as preprocess

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytestmark = pytest.mark.slow

ONNX, TORCH = DeployConfig(engine="onnx"), DeployConfig(engine="torch")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Rows of numbers, some of them missing, categories and, in `texts`, sentences; prepared."""
    root, some = tmp_path_factory.mktemp("mixed"), random.Random(0)
    lines = [
        f"{some.choice(['', round(some.random(), 3)])},{some.choice(['red', 'blue', 'green'])},"
        f"{' '.join(some.choices(['a', 'small', 'bird', 'sings', 'now', 'again'], k=9))},{some.choice('ab')}"
        for _ in range(120)
    ]
    (root / "rows.csv").write_text("\n".join(["age,colour,note,kind", *lines]) + "\n")
    for name, settings in (("columns", {"drop_columns": ["note"]}), ("texts", {"kinds": {"note": "text"}})):
        paths = Paths(root, name)
        collect.run(CollectConfig(uri=str(root / "rows.csv")), paths, task="classification")
        preprocess.run(PreprocessConfig(target="kind", **settings), paths, task="classification")
    return root


def make_candidate(root, name, architecture, folder):
    """An untrained candidate on the prepared rows of a project."""
    paths, ready = Paths(folder, name), Paths(root, name).ready
    paths.ready.parent.mkdir(parents=True)
    paths.ready.symlink_to(ready)
    spec = FeatureSpec.load(ready)
    torch.manual_seed(0)
    network = build(architecture, spec.task, spec.inputs, spec.target)
    card = {"architecture": architecture, "task": spec.task, "options": {}, "spec": spec.to_json()}
    save_model(paths.candidate, network, card)
    return paths


def entry(folder, config):
    return {"version": "v1.0.0", "path": str(folder), "limits": config.model_dump()}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("diabetes", "linear"), ("breast_cancer", "mlp"), ("digits", "cnn"), ("columns", "ft_transformer")],
)
def test_the_graph_answers_any_number_of_rows_as_torch_does(candidates, mixed, tmp_path, name, architecture):
    paths = make_candidate(mixed if name == "columns" else candidates, name, architecture, tmp_path)
    before = torch.get_num_threads()
    words, is_written = choose_engine(ONNX, paths)
    assert (is_written, torch.get_num_threads()) == (True, before)
    assert "validation rows answered alike" in words
    card = read_json(paths.served / "model.json")
    assert card["engine"]["hash"] == onnx.hash_graph((paths.served / "model.onnx").read_bytes())
    assert {key: value for key, value in card.items() if key != "engine"} == read_json(paths.candidate / "model.json")
    fast, slow = LoadedVersion(entry(paths.served, ONNX)), LoadedVersion(entry(paths.served, TORCH))
    assert (fast.engine, slow.engine) == ("onnx", "torch")
    assert (fast.card()["engine"], fast.model.network.session is None) == ("onnx", False)
    rows, _ = fast.model.spec.validate_table(first_rows(paths.ready, "test", 70))
    for n_rows in (1, 7, len(rows)):
        mine, others = (one.answer_table(rows.slice(0, n_rows), is_valid=True).columns for one in (fast, slow))
        assert [*mine] == [*others]
        for column, other in zip(mine.values(), others.values(), strict=True):
            if str(column.type) == "double":
                assert column.to_pylist() == pytest.approx(other.to_pylist(), rel=1e-3, abs=1e-4)


def test_what_cannot_be_exported_is_served_by_torch_and_the_reason_is_told(mixed, tmp_path, capfd):
    paths = make_candidate(mixed, "texts", "encoder", tmp_path)
    words, is_written = choose_engine(DeployConfig(), paths)
    assert words.startswith("torch, it cannot be exported to ONNX (")
    assert (is_written, "\n" in words, paths.served.exists()) == (False, False, False)
    assert capfd.readouterr() == ("", "")  # what torch says at length
    with pytest.raises(PipelineError, match="ONNX cannot serve the candidate: it cannot be exported") as refused:
        choose_engine(ONNX, paths)
    assert "engine: auto" in str(refused.value)


def test_a_graph_that_answers_otherwise_is_not_admitted(candidates, tmp_path, monkeypatch):
    paths = make_candidate(candidates, "breast_cancer", "mlp", tmp_path)
    network = load_model(paths.candidate).network
    monkeypatch.setattr(type(network.task), "TOLERANCE", -1.0)
    words, is_written = choose_engine(DeployConfig(), paths)
    assert (words.startswith("torch, the graph of ONNX answers"), is_written) == (True, False)


def test_the_engine_is_a_choice_of_the_yaml_and_of_what_is_installed(candidates, tmp_path, monkeypatch):
    paths = make_candidate(candidates, "breast_cancer", "mlp", tmp_path)
    assert choose_engine(TORCH, paths) == ("", False)
    old = paths.candidate  # a release of before, without a graph
    assert LoadedVersion(entry(old, DeployConfig())).engine == "torch"
    with pytest.raises(PipelineError, match=r"it was released without model\.onnx"):
        LoadedVersion(entry(old, ONNX))
    words, _ = choose_engine(DeployConfig(), paths)
    assert LoadedVersion(entry(paths.served, DeployConfig())).engine == words.partition(",")[0]
    graph = paths.served / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(PipelineError, match="is not the file that was released"):
        LoadedVersion(entry(paths.served, ONNX))
    assert LoadedVersion(entry(paths.served, DeployConfig())).engine == "torch"
    graph.write_bytes(whole)
    monkeypatch.setattr(onnx, "NEEDED", ("a_package_that_nobody_has",))
    assert choose_engine(DeployConfig(), paths) == ("", False)
    assert LoadedVersion(entry(paths.served, DeployConfig())).engine == "torch"
    for asked in (lambda: choose_engine(ONNX, paths), lambda: LoadedVersion(entry(paths.served, ONNX))):
        with pytest.raises(PipelineError, match=r"ONNX Runtime is not installed.*pip install 'evergreen\[onnx\]'"):
            asked()
