"""One Ray cluster for all slow tests: starting it takes longer than most of them."""

import pytest


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """The root of an empty clone whose own Ray is up and connected to."""
    from evergreen.stages.engines import ray_cluster

    root = tmp_path_factory.mktemp("clone")
    (root / "pipelines").mkdir()
    (root / "dvc.yaml").touch()
    ray_cluster.connect(root)
    yield root
    ray_cluster.stop(root)
