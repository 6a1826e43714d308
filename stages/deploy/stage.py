"""Deploy the released versions of all pipelines behind one HTTP address with Ray Serve, losing no request.

One application, one deployment: batching happens inside the replica, since each further hop between deployments costs
three quarters of the throughput. A new version reaches running replicas as their `user_config`, by Serve's declarative
interface: the replica loads it and warms it up beside the old one, then swaps (stages/deploy/endpoint.py).
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError, UserError
from evergreen.core.progress import Progress, no_progress
from evergreen.stages.deploy import api_keys, cluster_front, serve_api, serve_config
from evergreen.stages.deploy.cluster_front import Front
from evergreen.stages.deploy.config import DeployConfig
from evergreen.stages.deploy.serve_api import APPLICATION, DEPLOYMENT
from evergreen.stages.engines import haproxy, listening

RESTORE_SECONDS = 20.0  # an upgrade in place takes about 1
START_SECONDS = 120.0  # Serve's first start takes about 10 on two idle cores, an upgrade about 1


def deploy(
    root: Path,
    released: Mapping[str, Mapping[str, str]],
    params: DeployConfig | Mapping[str, DeployConfig],
    progress: Progress = no_progress,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Serve exactly the `released` versions, {pipeline: {"version", "path"}}; return when every replica does.

    `predictions`, if a version has them, is the file of its answers to test rows, by which their coverage is held.
    `params` is one for all or one per pipeline, `beside` says of a pipeline what is beside its version
    (serve_config.build_rollout); what does not start there is told by /healthz alone. Returns {"url", "proxy", "host",
    "needs_key", "moved_from", "grpc", "tls", "pipelines", "failures", "seconds"}: `moved_from` is the preferred port if
    that was taken. A version that cannot be loaded stands in `failures`: the others are served, and of its pipeline the
    one before. Raises PipelineError when none can be loaded, and those before stay; and for a listener without keys.
    """
    from evergreen.stages.engines import ray_cluster

    start, known_front = time.monotonic(), cluster_front.find_front(root)
    host = _checked_host(root, known_front)
    ray_cluster.connect(root)
    before = serve_api.get_status(root)
    live, served_port = serve_api.is_deployed(before), serve_api.served_port(before)
    each = {name: params if isinstance(params, DeployConfig) else params.get(name, DeployConfig()) for name in released}
    served = serve_api.deployed_config(before)["user_config"]["pipelines"] if live else {}
    wanted = {name: serve_config.build_entry(root, name, one, each[name]) for name, one in released.items()}
    entries, failures = try_out(wanted, served)
    if not entries:
        raise PipelineError(f"no released version can be served: {min(failures.values())}", place=min(failures))
    grpc = _claim_grpc(root, known_front, is_up=live) if any(one.grpc for one in each.values()) else ""
    config = serve_config.build_replica_config(root, entries, beside or {}, each) | {"grpc": grpc}
    with _claim_front(root, known_front, served_port) as (front, moved_from):
        serve_api.apply(root, serve_config.build_schema(config, each, front))
        try:
            _wait(root, front.url, config["revision"], time.monotonic() + START_SECONDS, progress)
        except PipelineError:
            _restore(root, before)
            raise
    return {
        "url": front.url,
        "proxy": "HAProxy" if listening.haproxy_runs() else "Ray Serve's own",
        "host": host,
        "needs_key": api_keys.keys_file(root).exists(),
        "moved_from": moved_from,
        "grpc": grpc,
        "tls": f"https://{host}:{haproxy.claim_tls(root, is_up=True)}" if listening.read_tls(root) else "",
        "pipelines": {name: one["version"] for name, one in entries.items()},
        "failures": failures,
        "seconds": time.monotonic() - start,
    }


@contextmanager
def _claim_front(root: Path, front: Front | None, served_port: int | None) -> Iterator[tuple[Front, int | None]]:
    """Yield where the endpoint listens, and the preferred port if that was taken."""
    if front or served_port:
        yield front or Front(listening.HOST, served_port or 0, listening.HOST), None
        return
    with haproxy.claim_port(root) as (port, moved_from):
        yield Front(listening.HOST, port, listening.HOST), moved_from


def _claim_grpc(root: Path, front: Front | None, *, is_up: bool) -> str:
    """Return the address for gRPC. Raises PipelineError on a cluster, where it is not to be had."""
    if front:
        raise PipelineError("gRPC is not offered on a cluster", place="deploy.grpc", fix="leave it out")
    return haproxy.claim_grpc(root, is_up=is_up)


def _checked_host(root: Path, front: Front | None) -> str:
    """Return the address on which the endpoint is to listen. Raises PipelineError where that lets in everybody."""
    host = front.listen if front else listening.bind_host(root)
    if host != listening.HOST and not api_keys.list_keys(root):
        fix = "make one with: evergreen keys add NAME, or go back with: evergreen serve --host 127.0.0.1"
        raise PipelineError("whoever reaches this machine could ask, for there are no API keys", place=host, fix=fix)
    return host


def status(root: Path) -> dict[str, Any] | None:
    """Return what is served now: {"url", "pipelines": {name: version}, "replicas"}; None where nothing was deployed.

    While the endpoint starts, and where it failed to, "pipelines" is empty.
    """
    if front := cluster_front.find_front(root):
        state = _ask(root, front.url)
        return {"url": front.url, "pipelines": state["pipelines"], "replicas": []} if "pipelines" in state else None
    details = serve_api.get_status(root) if serve_api.is_reachable(root) else {}
    if not serve_api.is_deployed(details):
        return None
    url = f"http://{listening.HOST}:{details['http_options']['port']}"
    wanted = serve_api.deployed_config(details)["user_config"]["pipelines"] if serve_api.is_running(details) else {}
    deployments = details["applications"][APPLICATION]["deployments"]
    replicas = deployments[DEPLOYMENT]["replicas"] if deployments else []  # none, where none could be built
    return {
        "url": url,
        "pipelines": {name: entry["version"] for name, entry in wanted.items()},
        "replicas": [one["state"] for one in replicas],
    }


def try_beside(root: Path, name: str, beside: Mapping[str, Any], params: DeployConfig) -> str:
    """Start the challenger in a process of its own, and end it; return why it cannot answer, or ""."""
    from evergreen.stages.deploy.version_process import VersionProcess

    process = VersionProcess(
        serve_config.build_rollout(root, name, beside, params)["processes"][beside["version"]] | {"home": ""}
    )
    try:
        return process.launch()
    finally:
        process.close()


def undeploy(root: Path) -> bool:
    """Stop Serve and free its port; return False where nothing was served."""
    if not (serve_api.is_reachable(root) and serve_api.is_deployed(serve_api.get_status(root))):
        return False
    serve_api.delete(root)
    return True


def undeploy_cluster(root: Path) -> bool:
    """Stop Serve on the cluster, if there is one whose endpoint answers; return False where nothing was served."""
    front = cluster_front.find_front(root)
    return bool(front and _ask(root, front.url)) and undeploy(root)


def try_out(wanted: Mapping[str, Any], served: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Load and run each version that is not served yet, before anything changes.

    Returns:
        The versions to serve, by pipeline: where one cannot be loaded, that which is served. Pipeline → why it cannot.
    """
    from evergreen.stages.artifacts import MISFITS
    from evergreen.stages.deploy.loaded_version import LoadedVersion

    entries, failures = dict(wanted), {}
    for name, entry in wanted.items():
        if served.get(name) == entry:
            continue
        try:
            if "shared" not in entry and not Path(entry["path"]).is_dir():
                problem, fix = "the files of the released model are missing", f"evergreen release {name}"
                raise PipelineError(problem, place=entry["path"], fix=f"fetch the release again: {fix}")
            LoadedVersion(entry)
        except UserError as error:
            failures[name] = f"{name} {entry['version']}: {error}"
        except (*MISFITS, OSError, MemoryError) as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            failures[name] = f"{name} {entry['version']} cannot answer its own example ({words:.300})"
        if name in failures:
            entries.pop(name)
            entries |= {name: served[name]} if name in served else {}
    return entries, failures


def _wait(root: Path, url: str, revision: str, deadline: float, progress: Progress) -> None:
    """Wait until every replica serves `revision`. Raises PipelineError if one cannot, or past the deadline."""
    revisions: set[str] = set()
    replicas = None
    while time.monotonic() < deadline:
        application = serve_api.get_status(root).get("applications", {}).get(APPLICATION, {})
        if application.get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise PipelineError(f"Serve cannot start: {application['message']}", fix="see .evergreen/ray's logs")
        if application.get("status") == "RUNNING":
            replicas = application["deployments"][DEPLOYMENT]["target_num_replicas"]
            for _ in range(4 * replicas):
                revisions |= _healthy(root, url, revision)
            if len(revisions) >= replicas:
                return
        progress(stage="deploy", replicas_ready=len(revisions), seconds_left=None)
        time.sleep(0.1)
    raise PipelineError(f"{len(revisions)} of {replicas} replicas served it in time", fix="see .evergreen/ray's logs")


def _ask(root: Path, url: str) -> dict[str, Any]:
    """Return what the endpoint says of its health; {} where it does not answer."""
    request = urllib.request.Request(f"{url}/healthz", headers=api_keys.owner_headers(root))
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            state: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        state = json.load(error) if error.headers.get_content_type() == "application/json" else {}
    except OSError:
        return {}
    return state


def _healthy(root: Path, url: str, revision: str) -> set[str]:
    """Return the replica that answered, if it serves `revision`. Raises PipelineError if it could not load it."""
    state = _ask(root, url)
    if state.get("revision") != revision:
        return set()
    if state["failures"]:
        name, problem = next(iter(state["failures"].items()))
        raise PipelineError(f"the released version cannot be loaded: {problem}", place=name)
    return {state["replica"]}


def _restore(root: Path, before: Mapping[str, Any]) -> None:
    """Set the earlier configuration again, so that a replica that restarts does not load the broken version."""
    if serve_api.is_deployed(before):
        config = before["applications"][APPLICATION]["deployed_app_config"]
        rest = {"proxy_location": "HeadOnly", "http_options": before["http_options"]}
        serve_api.apply(root, {**rest, "applications": [config]})
        deadline = time.monotonic() + RESTORE_SECONDS
        while not serve_api.is_running(serve_api.get_status(root)) and time.monotonic() < deadline:
            time.sleep(0.1)
