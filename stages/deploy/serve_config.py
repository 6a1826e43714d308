"""Build what replicas are told, and the whole configuration that Ray Serve takes."""

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.paths import IMPORT_ROOT
from evergreen.stages.deploy import api_keys, cluster_front, tracing
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.serve_api import APPLICATION, DEPLOYMENT
from evergreen.stages.engines import cluster_file, listening
from evergreen.stages.request_files import PINNED


def build_entry(root: Path, name: str, version: Mapping[str, str], config: DeployConfig) -> dict[str, Any]:
    """Return what a replica needs of a version, with a hash of its folder: that may change under the same name."""
    from evergreen.stages.artifacts import folder_version

    entry = {
        "version": version["version"],
        "path": str(Path(version["path"]).resolve()),
        "content": folder_version(Path(version["path"])),
        "predictions": str(Path(version["predictions"]).resolve()) if "predictions" in version else "",
        "limits": config.model_dump(exclude={"replicas", "cpus", "allowed_hosts", "grpc", "traces", "access_log"}),
    }
    return cluster_front.share_version(root, name, entry)


def build_rollout(root: Path, name: str, beside: Mapping[str, Any], config: DeployConfig) -> dict[str, Any]:
    """Return what a replica needs of the versions beside the one in production (stages/deploy/rollout.py).

    `beside` is {"version", "role", "share", "pins", "versions": [{"version", "path"}, …], "max_bytes", "max_seconds"}.
    """
    facts = {key: beside[key] for key in ("version", "role", "share", "pins")}
    shared = {"name": name, "home": cluster_front.place_home(root), "traces": config.traces}
    shared |= {key: beside[key] for key in ("max_bytes", "max_seconds")}
    processes = {
        one["version"]: {**shared, "entry": build_entry(root, name, one, config), "role": PINNED}
        for one in beside["versions"]
    }
    if facts["version"]:
        processes[facts["version"]]["role"] = facts["role"]
    return {**facts, "processes": processes}


def build_replica_config(
    root: Path, entries: Mapping[str, Any], beside: Mapping[str, Any], each: Mapping[str, DeployConfig]
) -> dict[str, Any]:
    """Return what replicas are told (stages/deploy/endpoint.py). Raises PipelineError where spans cannot be sent."""
    return {
        "revision": secrets.token_hex(8),
        "hosts": sorted({host.lower() for limits in each.values() for host in limits.allowed_hosts}),
        "home": cluster_front.place_home(root),
        "storage": cluster.storage if (cluster := cluster_file.read(root)).address else "",
        "needs_key": api_keys.keys_file(root).exists(),
        "replicas": max(limits.replicas for limits in each.values()),
        "traces": tracing.checked(next((limits.traces for limits in each.values() if limits.traces), "")),
        "access_log": any(limits.access_log for limits in each.values()),
        "texts_apart": True,
        "pipelines": entries,
        "rollouts": {name: build_rollout(root, name, one, each[name]) for name, one in beside.items()},
    }


def build_schema(
    config: Mapping[str, Any], each: Mapping[str, DeployConfig], front: cluster_front.Front
) -> dict[str, Any]:
    """Build Serve's whole configuration (ray.serve.schema.ServeDeploySchema)."""
    here = {} if config["storage"] else {"PYTHONPATH": str(IMPORT_ROOT)}  # elsewhere Evergreen is installed
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": max((params.replicas for params in each.values()), default=1),
        "ray_actor_options": {"num_cpus": max((params.cpus for params in each.values()), default=0)},
        "max_ongoing_requests": 100_000,  # the replica's own queue refuses earlier, and in JSON
        "max_queued_requests": -1,
        "max_surge_percent": 100,  # start the new replica before the old one goes, where one must go
        "graceful_shutdown_timeout_s": 10,
        "health_check_period_s": 5,
        "user_config": {**config, "hosts": sorted({*config["hosts"], front.host} - {listening.HOST})},
        "logging_config": {"enable_access_log": False},
    }
    if config["storage"]:
        deployment |= cluster_front.spread(config["replicas"])
    application = {
        "name": APPLICATION,
        "route_prefix": "/",
        "import_path": "evergreen.stages.deploy.endpoint:application",
        # Replicas that run other code are replaced: older code may not know a new architecture.
        "runtime_env": {"env_vars": here | {"EVERGREEN_CODE": _code()}},
        "deployments": [deployment],
    }
    options = {"host": front.listen, "port": front.port}
    return {"proxy_location": "HeadOnly", "http_options": options, "applications": [application]}


def _code() -> str:
    """Hash Evergreen's version and the code of every part that a model may use."""
    from importlib.metadata import version

    from evergreen.core import parts
    from evergreen.stages.code_version import GROUPS, code_version

    known = {part: parts.names(group) for part, group in GROUPS.items()}
    code = f"evergreen {version('evergreen')}\n{code_version('deploy', known)}"
    return hashlib.blake2b(code.encode(), digest_size=16).hexdigest()
