"""Stages that run as jobs on a cluster: what is sent, and what comes back; without the cluster."""

import pytest

from evergreen.core import parts
from evergreen.core.errors import DataError, OutageError, PipelineError
from evergreen.core.files import read_json, write_json
from evergreen.core.paths import Paths
from evergreen.data.object_store import ObjectStore
from evergreen.stages import remote_job, remote_stage
from evergreen.stages.engines import cluster_file


@pytest.fixture
def paths(tmp_path):
    """A project whose machine is none of the cluster's."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "cluster.yaml").write_text(f"jobs: http://10.99.0.1:8265\nstorage: {tmp_path}/shared\n")
    return Paths(root, "sizes")


def test_a_machine_is_in_the_cluster_or_outside_of_it(paths):
    place = paths.root / "cluster.yaml"
    assert cluster_file.read(paths.root).jobs == "http://10.99.0.1:8265"
    place.write_text(place.read_text() + "address: 10.99.0.1:6379\n")
    with pytest.raises(PipelineError, match="address and jobs exclude each other"):
        cluster_file.read(paths.root)
    place.write_text("jobs: http://10.99.0.1:8265\n")
    with pytest.raises(PipelineError, match="a cluster needs storage"):
        cluster_file.read(paths.root)


def test_a_job_is_sent_what_its_stage_reads(paths, tmp_path):
    for place in (paths.pipeline, paths.select, paths.tune, paths.trials, paths.raw / "rows"):
        write_json(place, {"of": place.name})
    parts.adopt({"kinds/angle": "from evergreen import data"})
    try:
        remote_stage._pack(tmp_path / "sent", paths, "tune")
    finally:
        parts.adopt({})
    sent = {str(file.relative_to(tmp_path / "sent")) for file in (tmp_path / "sent").rglob("*") if file.is_file()}
    known = {str(place.relative_to(paths.root)) for place in (paths.pipeline, paths.select, paths.trials)}
    assert sent == {*known, "cluster.yaml", "data/kinds/angle.py"}
    assert "jobs" not in read_json(tmp_path / "sent" / "cluster.yaml")


def test_progress_crosses_a_log_and_other_lines_do_not(capsys):
    told = []
    print("a library says something")
    remote_job._tell(stage="train", epoch=3, loss=float("nan"))
    remote_job._tell(stage="train", summary="done \u2028 \x1e", seconds=1.0)
    for line in capsys.readouterr().out.split("\n"):
        remote_stage._forward(lambda **facts: told.append(facts))(line)
    assert [one.get("epoch") for one in told] == [3, None]
    assert told[1] == {"stage": "train", "summary": "done \u2028 \x1e", "seconds": 1.0}


def test_what_a_job_made_ends_in_the_project_and_so_do_its_mistakes(paths, tmp_path):
    store = ObjectStore(str(tmp_path / "results"))
    write_json(paths.candidate / "old.json", {})
    for name in ("candidate/model.json", "candidate/engines/graph.onnx", "tune"):
        store.put_bytes(name, name.encode())
    made = {"candidate": ["engines/graph.onnx", "model.json"], "tune": [""]}
    write_json(tmp_path / "results" / remote_stage.RESULT, {"made": made, "returned": {"score": 1}})
    assert remote_stage._collect(store, paths, "", "job") == {"score": 1}
    files = {str(file.relative_to(paths.candidate)) for file in paths.candidate.rglob("*") if file.is_file()}
    assert files == {"model.json", "engines/graph.onnx"}
    assert paths.tune.read_text() == "tune"

    with pytest.raises(OutageError, match=r"the job evergreen-1 failed .its machine died.; run it again"):
        remote_stage._collect(store, paths, "its machine died", "evergreen-1")
    mistake = {"kind": "DataError", "problem": "no rows", "place": "sizes.csv", "fix": "add some"}
    write_json(tmp_path / "results" / remote_stage.MISTAKE, mistake)
    with pytest.raises(DataError, match=r"sizes\.csv: no rows; add some"):
        remote_stage._collect(store, paths, "exit status 1", "evergreen-1")
