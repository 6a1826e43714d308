"""Reach the parts of Ray that it does not promise to keep. All are named here, and in torch_group.py those of Train."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

HEAD = "node:__internal_head__"  # the resource that the machine of the head has
TRIED = "2.60.0"  # another version may have moved what follows: run tests/slow and `make cluster-test` with it


def read_token_again() -> None:
    """Read the mode of authentication and the token anew: Ray has read them when it was imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def asks_for_token() -> bool:
    """Tell whether the Ray of this process lets in nobody without the cluster's token."""
    from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)


def stay_on_loopback() -> None:
    """Look for Ray's services on loopback, not at this machine's outer address, and do not print ends of logs."""
    from ray._private import ray_constants, worker

    ray_constants.ENABLE_RAY_CLUSTER = False
    worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def silence_driver() -> Iterator[None]:
    """Let Ray's C++ be silent in a process that connects in the block: a death of Ray is told by Evergreen, in a line.

    Ray says on the standard error that it was told so; what this process writes there meanwhile is lost. Where the
    environment names a level, that counts.
    """
    level = "RAY_BACKEND_LOG_LEVEL"
    if level in os.environ:
        yield
        return
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    os.environ[level] = "fatal"
    try:
        yield
    finally:
        del os.environ[level]
        os.dup2(stderr, 2)
        os.close(stderr)


def list_nodes(address: str) -> list[dict[str, Any]]:
    """Ask a cluster, without joining it, for its living nodes: name, address, resources, and Ray's key of each.

    Raises what Ray does: AuthenticationError, or another RayError where nobody answers.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    return [
        {
            "name": node.node_manager_hostname,
            "address": node.node_manager_address,
            "resources": dict(node.resources_total),
            "key": node.node_id.hex(),
        }
        for node in GcsClient(address=address).get_all_node_info().values()
        if node.state == 0  # alive
    ]


def start_head(**parameters: Any) -> Any:
    """Start a head in this session of processes, and return Ray's node: it takes addresses as they are given.

    `ray start` and `ray.init` turn loopback into the outer address, add a server on a fixed port, or fix an agent's.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    return Node(RayParams(**parameters), head=True, shutdown_at_exit=False, spawn_reaper=True)


def call_serve(method: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Call Serve from a process of its cluster as its REST API does: GET, PUT a whole configuration, DELETE."""
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema, ServeInstanceDetails

    if method == "PUT":
        schema = ServeDeploySchema.model_validate(value)
        started = serve_start(
            http_options=schema.http_options.model_dump(),
            proxy_location=schema.proxy_location,
            grpc_options=schema.grpc_options.model_dump(),
        )
        started.deploy_apps(schema)
        return {}
    client = _get_global_client(raise_if_no_controller_running=False)
    if method == "DELETE":
        if client:
            serve.shutdown()
        return {}
    details: dict[str, Any] = client.get_serve_details() if client else ServeInstanceDetails.get_empty_schema_dict()
    return details


def keep_replica_on(host: str) -> None:
    """Bind Serve's port for calls between deployments to an address, where this machine's is the same."""
    import ray.serve._private.replica as replica
    from ray._common.tls_utils import add_port_to_grpc_server
    from ray.util import get_node_ip_address

    if get_node_ip_address() == host:
        replica.add_port_to_grpc_server = lambda server, _: add_port_to_grpc_server(server, f"{host}:0")
