"""Stand the endpoint on the machines of `cluster.yaml`: a task on the machine of Ray's head tells Serve what to do.

There HAProxy listens, as it does on one machine; replicas stand where Ray puts them. What they serve they take from the
cluster's storage, and so they do with the API keys.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evergreen.core.addresses import is_address
from evergreen.core.errors import OutageError, PipelineError, UserError
from evergreen.core.files import make_private, write_text
from evergreen.data.object_store import ObjectStore
from evergreen.stages.deploy import api_keys
from evergreen.stages.engines import cluster_file, haproxy, listening, ray_internals, storage_budget
from evergreen.stages.engines.ray_watch import AGAIN
from evergreen.stages.engines.shared_storage import fetch_folder, own_folder, share_folder

SECONDS = 120.0  # until a call that is not answered is given up; the first one starts Serve
REQUESTS = "requests"
LOOK_SECONDS = 2.0  # between two looks whether the keys have changed, where storage is an address
MODEL, PREDICTIONS = "model", "predictions.parquet"


@dataclass(frozen=True)
class Front:
    """Say where the endpoint of a cluster listens, and under which host its machines are asked."""

    listen: str
    port: int
    host: str

    @property
    def url(self) -> str:
        """Return where the endpoint is asked."""
        return f"http://{self.host}:{self.port}"


def find_front(root: Path) -> Front | None:
    """Return where the endpoint of the cluster listens; None where there is no cluster.

    Raises PipelineError where it would listen on another machine's loopback.
    """
    import psutil

    cluster = cluster_file.read(root)
    if not cluster.address:
        return None
    listen, _, port = cluster.listen.rpartition(":")
    head = cluster.address.rpartition(":")[0].removeprefix("ray://")
    own = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    if listen == listening.HOST and head not in own:
        fix = f"write where it is to listen on {head}: listen: 0.0.0.0:{port}"
        raise PipelineError(f"the endpoint listens on {head}'s loopback alone", place="cluster.yaml", fix=fix)
    return Front(listen, int(port), head if listen == "0.0.0.0" else listen)


def call_serve(root: Path, method: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call Serve on the cluster as its REST API would be called. Raises OutageError where it does not answer."""
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from evergreen.stages.engines import ray_cluster

    ray_cluster.connect(root)
    cluster, front = cluster_file.read(root), find_front(root)
    head = next(one["NodeID"] for one in ray.nodes() if one["Alive"] and ray_internals.HEAD in one["Resources"])
    name = cluster.storage.encode()
    folder, ports = haproxy.temporary_folder(name), haproxy.choose_ports(name)
    quick = {"RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1", "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s"}
    variables = {**haproxy.MIDDLEWARES, **haproxy.settings(folder, ports), **quick}
    there = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(head, soft=False)}
    starter = ray.remote(**there)(haproxy.write_starter)
    call = ray.remote(**there, max_retries=0, runtime_env={"env_vars": variables})(ray_internals.call_serve)
    try:
        if method == "PUT" and front:
            api_keys.publish_keys(root, api_keys.list_keys(root))
            ray.get(starter.remote(folder, haproxy.OUTLIVE), timeout=SECONDS)
        answer: dict[str, Any] = ray.get(call.remote(method, schema), timeout=SECONDS)
        return answer
    except RayTaskError as error:
        raise RuntimeError(f"Serve refused: {str(error).strip().splitlines()[-1]}") from error
    except RayError as error:
        problem = str(error).partition("\n")[0]
        raise OutageError(f"Serve does not answer ({problem})", place=cluster.address, fix=AGAIN) from None


def spread(n_replicas: int) -> dict[str, int]:
    """Return the options of Serve's deployment that put as many replicas on one machine as on another.

    While that holds, a replica of other code finds room where an old one went.
    """
    import ray

    machines = sum(one["Alive"] for one in ray.nodes())
    return {"max_replicas_per_node": -(-n_replicas // machines), "max_surge_percent": 0} if n_replicas > 1 else {}


def share_version(root: Path, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a replica needs of a version, with its files in the cluster's storage, if there is a cluster."""
    from evergreen.stages.artifacts import folder_version

    cluster = cluster_file.read(root)
    if not cluster.address:
        return dict(entry)
    with tempfile.TemporaryDirectory(prefix="served-") as temporary:
        shutil.copytree(entry["path"], Path(temporary, MODEL), copy_function=os.symlink)
        if entry["predictions"]:
            Path(temporary, PREDICTIONS).symlink_to(entry["predictions"])
        shared = share_folder(root, Path(temporary), "served", name, folder_version(Path(temporary)))
    return {**entry, "path": "", "predictions": "", "shared": shared, "hold": [cluster.storage, "served", name]}


def localize(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version with the paths that its files have on this machine, which fetches them where it must."""
    if "shared" not in entry:
        return dict(entry)
    storage_budget.hold(*entry["hold"])  # as long as this process may have to start again
    folder = fetch_folder(entry["shared"])
    answers = folder / PREDICTIONS
    return {**entry, "path": str(folder / MODEL), "predictions": str(answers) if answers.is_file() else ""}


def place_home(root: Path) -> str:
    """Return where replicas log requests: in the project, or in the cluster's storage; `find_home` reads it."""
    cluster = cluster_file.read(root)
    if not cluster.address:
        return str((root / ".evergreen" / REQUESTS).resolve())
    place = api_keys.place_of(cluster.storage)
    return place if is_address(place) else str(Path(place, REQUESTS))


def find_home(place: str) -> str:
    """Return the folder for files of requests, beside which the keys lie: the place itself, where it is no address."""
    return str(_make_site(place) / REQUESTS) if is_address(place) else place


@cache
def _make_site(place: str) -> Path:
    """Return this machine's own folder in which the keys are as they are at an address."""
    site = make_private(own_folder(place))
    _copy_keys(place, site)
    threading.Thread(target=_follow_keys, args=(place, site), daemon=True).start()
    return site


def _follow_keys(place: str, site: Path) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        _copy_keys(place, site)


def _copy_keys(place: str, site: Path) -> None:
    with suppress(UserError, OSError):  # there are none, or storage does not answer: again in a moment
        content, file = ObjectStore(place).read(api_keys.KEYS).decode(), site / api_keys.KEYS
        if not file.is_file() or file.read_text(encoding="utf-8") != content:
            write_text(file, content)
