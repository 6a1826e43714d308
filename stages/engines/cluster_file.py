"""Read `cluster.yaml`: where Ray is, and what its machines share."""

import os
from pathlib import Path

from pydantic import Field, field_validator

from evergreen.core.addresses import check_no_secret
from evergreen.core.config import Section, build
from evergreen.core.yaml_file import YamlFile


class Cluster(Section):
    """Describe `cluster.yaml` at the project's root; without it everything runs on this machine."""

    address: str = Field("", pattern=r"^((ray://)?[^\s/@]+:\d{1,5})?$", max_length=300, examples=["10.0.0.1:6379"])
    """Of a Ray cluster, host:port."""
    jobs: str = Field("", pattern=r"^(https?://[^\s/@]+)?$", max_length=300, examples=["http://10.0.0.1:8265"])
    """The dashboard of a Ray cluster that this machine is no part of: stages that cost run there as jobs of Ray's."""
    storage: str = Field(
        "",
        pattern=r"^(/[^\x00-\x1f]*|[a-z][a-z0-9+]+:[^\s\x00-\x1f]+)?$",
        max_length=4096,
        examples=["/shared/evergreen", "s3://bucket/folder"],
    )
    """A folder that all its machines see under this absolute path, or an address that all of them reach."""

    listen: str = Field(
        "127.0.0.1:8000",
        pattern=r"^(\d{1,3}\.){3}\d{1,3}:\d{1,5}$",
        max_length=21,
        examples=["0.0.0.0:8000"],
    )
    """Where the endpoint listens on the machine of Ray's head; beyond loopback it wants API keys."""

    storage_gb: float = Field(100.0, gt=0, le=1e9)
    """GB that copies and runs there may take, of all who use it; above it those go that were longest not used."""

    @field_validator("storage")
    @classmethod
    def _check_no_secret(cls, storage: str) -> str:
        check_no_secret(storage)
        return storage


def read(root: Path) -> Cluster:
    """Read where Ray is. Raises PipelineError for a mistake in `cluster.yaml`."""
    place = root / "cluster.yaml"
    if not place.exists() and not place.is_symlink():
        variable = "EVERGREEN_RAY_ADDRESS"
        return build(Cluster, {"address": os.environ.get(variable, "")}, variable)
    file = YamlFile(place, place.name, "address: HOST:PORT, storage: /a/shared/folder or s3://bucket/folder")
    cluster = file.section(Cluster)
    if cluster.address and cluster.jobs:
        fix = "leave jobs out on a machine of the cluster, and address on another one"
        raise file.error("address and jobs exclude each other", "jobs", fix=fix)
    if (cluster.address or cluster.jobs) and not cluster.storage:
        fix = "give the absolute path of a folder that all machines of the cluster can read and write, or s3://bucket/…"
        raise file.error("a cluster needs storage", "address" if cluster.address else "jobs", fix=fix)
    return cluster
