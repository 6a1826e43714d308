"""Read `cluster.yaml`: where Ray is, and the folder that its machines share."""

import os
from pathlib import Path

from pydantic import Field

from evergreen.core.config import Section, build
from evergreen.core.yaml_file import YamlFile


class Cluster(Section):
    """Describe `cluster.yaml` at the project's root; without it everything runs on this machine."""

    address: str = Field("", pattern=r"^((ray://)?[^\s/@]+:\d{1,5})?$", max_length=300, examples=["10.0.0.1:6379"])
    """Of a Ray cluster, host:port."""
    storage: str = Field("", pattern=r"^(/[^\x00-\x1f]*)?$", max_length=4096, examples=["/shared/evergreen"])
    """A folder that all its machines see under this absolute path."""


def read(root: Path) -> Cluster:
    """Read where Ray is. Raises PipelineError for a mistake in `cluster.yaml`."""
    place = root / "cluster.yaml"
    if not place.exists() and not place.is_symlink():
        variable = "EVERGREEN_RAY_ADDRESS"
        return build(Cluster, {"address": os.environ.get(variable, "")}, variable)
    file = YamlFile(place, place.name, "address: HOST:PORT, storage: /a/shared/folder")
    cluster = file.section(Cluster)
    if cluster.address and not cluster.storage:
        fix = "give the absolute path of a folder that all machines of the cluster can read and write"
        raise file.error("a cluster needs storage", "address", fix=fix)
    return cluster
