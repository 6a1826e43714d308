"""What the door to Ray decides without starting it."""

import os

import psutil
import pytest

from evergreen.core.errors import PipelineError
from evergreen.core.processes import is_alive, start_time_s
from evergreen.stages.engines import cluster_file, ray_cluster, ray_node


def test_without_a_file_everything_runs_here(tmp_path):
    assert cluster_file.read(tmp_path) == cluster_file.Cluster()


def test_a_real_cluster_needs_storage_that_all_see(tmp_path):
    (tmp_path / "cluster.yaml").write_text("address: 10.0.0.1:6379\nstorage: /shared\n")
    assert cluster_file.read(tmp_path) == cluster_file.Cluster(address="10.0.0.1:6379", storage="/shared")
    (tmp_path / "cluster.yaml").write_text("address: 10.0.0.1:6379\n")
    with pytest.raises(PipelineError, match="storage"):
        cluster_file.read(tmp_path)
    (tmp_path / "cluster.yaml").write_text("adress: 10.0.0.1:6379\n")
    with pytest.raises(PipelineError, match="address"):
        cluster_file.read(tmp_path)


def test_a_recycled_number_is_somebody_elses():
    mine = {"pid": os.getpid(), "started": start_time_s(psutil.Process())}
    assert is_alive(mine)
    assert not is_alive({**mine, "started": mine["started"] - 100})


def test_stop_leaves_a_process_that_only_has_the_number(tmp_path):
    from evergreen.core.files import write_json

    record = {"pid": os.getpid(), "started": 1.0, "folder": str(tmp_path / ".evergreen" / "ray")}
    write_json(tmp_path / ".evergreen" / "ray.json", record)
    assert not ray_cluster.stop(tmp_path)  # and this test goes on
    assert not (tmp_path / ".evergreen" / "ray.json").exists()


def test_sockets_stay_within_the_systems_limit(tmp_path):
    deep = tmp_path / ("long" * 20)
    deep.mkdir()
    for root in (tmp_path, deep):
        folder = ray_node.choose_folder(root)
        assert len(os.fsencode(folder)) <= ray_node.LONGEST_FOLDER
        assert folder.parent == root / ".evergreen" or not folder.parent.exists()


def test_the_environment_names_the_token_and_does_not_hold_it(tmp_path):
    variables = ray_cluster.environment(tmp_path)
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN_PATH"].startswith(str(tmp_path))
    assert "RAY_AUTH_TOKEN" not in variables
