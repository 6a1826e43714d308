"""Deploying without an engine: its settings, and the ports and the environment of a clone."""

import socket

import pytest

from stages.deploy import Params
from stages.serving import front
from stages.settings import PipelineError


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"cpus": -1}, {"max_rows": 0}, {"max_queue_rows": 10}])
def test_settings_that_cannot_work_are_named(wrong):
    with pytest.raises(PipelineError, match=next(iter(wrong))):
        Params(**wrong)


@pytest.mark.skipif(not front.haproxy_runs(), reason="HAProxy's package is made for Linux")
def test_two_clones_share_no_port_and_no_folder_and_keep_their_own(tmp_path):
    one, other = (front.environment(tmp_path / name) for name in ("one", "other"))
    same = {name for name in one if one[name] == other[name]}
    assert not {name for name in same if "PORT" in name or "SOCKET" in name or "FILE" in name or "BASE" in name}
    assert front.environment(tmp_path / "one") == one
    for name in ("one", "other"):
        front.clear(tmp_path / name)


def test_a_taken_port_moves_on_and_is_remembered(tmp_path):
    port, _ = front.http_port(tmp_path)
    assert front.http_port(tmp_path) == (port, None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        moved, before = front.http_port(tmp_path)
    assert moved > port
    assert before == port
