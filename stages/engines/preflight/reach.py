"""Look, before a process joins a cluster, whether it can: Ray itself would wait for minutes, without a word."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evergreen.core.diagnosis import Finding
from evergreen.core.errors import OutageError, PipelineError
from evergreen.stages.engines.preflight.cluster_checks import Machine

CONNECT_SECONDS = 5.0
TOKEN = "put the cluster's token into a file of mode 0600, name it in RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"


def list_machines(address: str) -> list[Machine]:
    """Ask a cluster for its machines, without joining it.

    Raises:
        OutageError: nobody answers there.
        PipelineError: it does not know this process's token, or this machine is none of the cluster's.
    """
    import psutil
    from ray.exceptions import AuthenticationError, RayError

    from evergreen.stages.engines.ray_internals import list_nodes

    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        fix = "start Ray there, or set the address in cluster.yaml"
        raise OutageError(f"no cluster answers ({error})", place=address, fix=fix) from None
    try:
        machines = [Machine(**node) for node in list_nodes(address)]
    except AuthenticationError:
        raise PipelineError("the cluster does not take this token", place=address, fix=TOKEN) from None
    except RayError as error:
        problem = f"what answers there is no Ray of this version ({str(error).partition(chr(10))[0]})"
        raise OutageError(problem, place=address, fix="ray status on that machine tells more") from None
    own = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    if not own & {machine.address for machine in machines}:
        others = ", ".join(machine.name for machine in machines)
        fix = f"run it on one of these, or start Ray here: ray start --address={address}"
        problem = f"{socket.gethostname()} is no machine of the cluster, which has {others}"
        raise PipelineError(problem, place=address, fix=fix)
    names = Counter(machine.name for machine in machines)
    machines = [replace(one, name=f"{one.name} ({one.address})") if names[one.name] > 1 else one for one in machines]
    return sorted(machines, key=lambda machine: machine.name)


def check_token_file() -> Iterator[Finding]:
    """Check that the token of this process is nobody else's to read."""
    place = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(place) if place else Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_TOKEN" not in os.environ and file.is_file() and file.stat().st_mode & 0o077:
        yield Finding("token", "fail", f"{file} may be read by others", f"chmod 600 {file}")
