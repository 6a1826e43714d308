"""Deploying without an engine: its settings, and the ports and the environment of a clone."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evergreen.core.config import build
from evergreen.core.errors import PipelineError
from evergreen.core.files import write_json
from evergreen.stages.deploy import api_keys, cluster_front, serve_config
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.stage import deploy, status
from evergreen.stages.engines import haproxy, listening, ray_node


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"cpus": -1}, {"max_rows": 0}, {"max_queue_rows": 10}])
def test_settings_that_cannot_work_are_named(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        build(DeployConfig, wrong, "deploy")


@pytest.mark.skipif(not listening.haproxy_runs(), reason="HAProxy's package is made for Linux")
def test_two_clones_share_no_port_and_no_folder_and_keep_their_own(tmp_path):
    one, other = (haproxy.environment(tmp_path / name) for name in ("one", "other"))
    same = {name for name in one if one[name] == other[name]}
    assert not {name for name in same if "_PORT" in name or "SOCKET" in name or "FILE" in name or "BASE" in name}
    assert haproxy.environment(tmp_path / "one") == one
    for name in ("one", "other"):
        haproxy.clear(tmp_path / name)


def test_a_taken_port_moves_on_and_is_remembered(tmp_path):
    with haproxy.claim_port(tmp_path) as (port, _):
        pass
    with haproxy.claim_port(tmp_path) as chosen:
        assert chosen == (port, None)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ended connections hold no port
        other.bind(("127.0.0.1", port))
        other.listen()
        with haproxy.claim_port(tmp_path) as (moved, before):
            assert moved > port
        assert before == port


@pytest.mark.skipif(not listening.haproxy_runs(), reason="names without a file are Linux's")
def test_clones_that_deploy_at_one_moment_take_different_ports(tmp_path):
    with (
        haproxy.claim_port(tmp_path / "one") as (port, _),
        haproxy.claim_port(tmp_path / "other") as (other, _),
    ):
        assert other > port
    with haproxy.claim_port(tmp_path / "third") as (third, _):
        assert third == port


def test_what_a_cluster_serves_lies_in_its_storage_with_the_hashes_of_the_keys(tmp_path):
    root, shared, model = tmp_path / "project", tmp_path / "shared", tmp_path / "model"
    for folder in (root / ".evergreen", shared, model):
        folder.mkdir(parents=True)
    (model / "model.json").write_text("{}")
    version = {"version": "v1.0.0", "path": str(model)}
    assert serve_config.build_entry(root, "sizes", version, DeployConfig())["path"] == str(model)

    place = root / "cluster.yaml"
    place.write_text(f"address: 10.99.0.1:6379\nstorage: {shared}\n")
    with pytest.raises(PipelineError, match="loopback alone; write where"):
        cluster_front.find_front(root)
    place.write_text(f"address: 10.99.0.1:6379\nstorage: {shared}\nlisten: 0.0.0.0:8123\n")
    assert cluster_front.find_front(root).url == "http://10.99.0.1:8123"
    with pytest.raises(PipelineError, match="there are no API keys"):
        deploy(root, {"sizes": version}, DeployConfig())
    entry = serve_config.build_entry(root, "sizes", version, DeployConfig())
    shutil.rmtree(model)
    assert Path(cluster_front.localize(entry)["path"], "model.json").read_text() == "{}"

    key = api_keys.add_key(root, "ada")
    home = Path(cluster_front.find_home(cluster_front.place_home(root)))
    door = api_keys.Doorkeeper(home.parent / api_keys.KEYS, is_locked=True)
    assert key not in (home.parent / api_keys.KEYS).read_text()
    assert door.identify({"x-api-key": key}).name == "ada"
    assert door.identify({k.lower(): v for k, v in api_keys.owner_headers(root).items()}).name == api_keys.OWNER


def test_a_ray_that_was_killed_serves_nothing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".evergreen").mkdir()
    (tmp_path / ".evergreen" / "ray.token").write_text("0")
    record = {"pid": gone.pid, "started": time.time(), "dashboard": "http://127.0.0.1:1"}
    write_json(ray_node.place(tmp_path), record | {"token": str(tmp_path / ".evergreen" / "ray.token")})
    assert status(tmp_path) is None
