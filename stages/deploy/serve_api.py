"""Call Ray Serve's declarative REST API at the dashboard of this clone's Ray, or the same on the cluster."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evergreen.core.errors import OutageError, PipelineError
from evergreen.stages.deploy import cluster_front
from evergreen.stages.engines import cluster_file
from evergreen.stages.engines.ray_watch import AGAIN

APPLICATION, DEPLOYMENT = "evergreen", "Endpoint"
SECONDS = 60.0  # until a call that is not answered is given up


def get_status(root: Path) -> dict[str, Any]:
    """Return Serve's configuration and state. Raises OutageError where Ray does not answer."""
    return _call(root, "GET")


def apply(root: Path, schema: Mapping[str, Any]) -> None:
    """Set the configuration that Serve moves to by itself (ray.serve.schema.ServeDeploySchema)."""
    _call(root, "PUT", schema)


def delete(root: Path) -> None:
    """Stop Serve and its applications."""
    _call(root, "DELETE")


def is_deployed(details: Mapping[str, Any]) -> bool:
    """Tell whether the result of `get_status` contains this clone's endpoint."""
    return APPLICATION in details.get("applications", {})


def is_running(details: Mapping[str, Any]) -> bool:
    """Tell whether all of the endpoint runs as it was configured."""
    return is_deployed(details) and details["applications"][APPLICATION]["status"] == "RUNNING"


def served_port(details: Mapping[str, Any]) -> int | None:
    """Return the port of Serve's proxy, which stays until Serve ends; None where Serve is not up."""
    return details["http_options"]["port"] if details.get("controller_info") else None


def deployed_config(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the endpoint's one deployment."""
    deployments: list[dict[str, Any]] = details["applications"][APPLICATION]["deployed_app_config"]["deployments"]
    return deployments[0]


def is_reachable(root: Path) -> bool:
    """Tell whether this clone's Ray is running; False also where it was killed. A cluster is taken to run."""
    return bool(cluster_file.read(root).address) or _dashboard(root) is not None


def _call(root: Path, method: str, value: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if cluster_file.read(root).address:
        return cluster_front.call_serve(root, method, value)
    dashboard = _dashboard(root)
    if dashboard is None:
        raise PipelineError("Ray is not up", fix="start it with: evergreen serve")
    url, token = dashboard
    body = None if value is None else json.dumps(value).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/serve/applications/", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        problem = error.read().decode(errors="replace").strip().splitlines()
        if error.code >= 500:  # its controller or the GCS is away
            raise OutageError(f"Serve cannot answer ({problem[-1:]})", place=url, fix=AGAIN) from None
        raise RuntimeError(f"Serve refused the configuration ({error.code}): {problem[-1:]}") from error
    except OSError as error:
        raise OutageError(f"Ray does not answer ({error})", place=url, fix=AGAIN) from None
    return json.loads(text) if text else {}


def _dashboard(root: Path) -> tuple[str, str] | None:
    """Return the dashboard's address and token; None where Ray is not running."""
    from evergreen.stages.engines import ray_node

    record = ray_node.load_up(root)
    return (record["dashboard"], Path(record["token"]).read_text().strip()) if record else None
