"""Requests per second of the endpoint against FastAPI, LitServe, BentoML and MLServer, with the same model and checks.

The servers of other projects are installed into an environment each, for their needs do not fit together; it finds
torch and Evergreen in this one. All run at one niceness, and take turns.
"""

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks import ray_project, sized
from benchmarks.engines import add_graph
from benchmarks.serve import (
    CONNECTIONS,
    ROOT,
    Figures,
    Server,
    find_example,
    free_port,
    measure,
    plain_server,
    released_model,
)
from evergreen.stages.deploy.config import DeployConfig

# The newest of each; figures of other versions would be other figures.
PACKAGES = {"LitServe": "litserve==0.2.19", "BentoML": "bentoml==1.4.40", "MLServer": "mlserver==1.7.1"}
ROUNDS, START_SECONDS = sized(3, 1), 120.0
FASTAPI = "FastAPI on uvicorn"


def install(package: str, folder: Path) -> Path | None:
    """Make an environment; return its interpreter, None where the registry cannot be reached."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    quiet = ["--quiet", "--disable-pip-version-check", "--prefer-binary"]
    done = subprocess.run([python, "-m", "pip", "install", *quiet, package], stdout=sys.stderr, check=False)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # what it does not have itself
    return None if done.returncode else python


@contextlib.contextmanager
def running(python: Path, name: str, model: Path, request: Any) -> Iterator[Server]:
    """A server of another project while it runs, once it answers."""
    port = free_port()
    variables = {"MODEL": str(model), "PORT": str(port), "HOME": tempfile.gettempdir(), "BENTOML_DO_NOT_TRACK": "True"}
    command = [python, "-m", f"benchmarks.servers.of_{name.lower()}"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=sys.stderr)
    path = "/v2/models/digits/infer" if name == "MLServer" else "/digits/predict"
    server = Server.of_url(f"http://127.0.0.1:{port}", path, request)
    try:
        _wait_for(process, f"http://127.0.0.1:{port}{path}", server.request.partition(b"\r\n\r\n")[2])
        yield server
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], url: str, body: bytes) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=5):
                return
        except urllib.error.HTTPError as error:
            problem = f"{error}: {error.read(500).decode()}"
        except OSError as error:
            problem = str(error)
        if time.monotonic() > limit or process.poll() is not None:
            raise SystemExit(f"{url} does not answer: {problem}")
        time.sleep(0.2)


def niceness(ports: Collection[int]) -> set[int]:
    """The niceness of all that listens on these ports, and of replicas."""
    listening = [one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port in ports]
    processes = [psutil.Process(one.pid) for one in listening if one.pid]
    processes += [
        one for one in psutil.process_iter(["cmdline"]) if "ServeReplica" in "".join(one.info["cmdline"] or ())
    ]
    return {one.nice() for one in processes}


def report(found: dict[tuple[str, int], Figures], names: list[str]) -> str:
    """A row per server; for each number of connections the rate, as a share of FastAPI's, and the 99% quantile."""
    heads = [f"{cell} at {n}" for n in CONNECTIONS for cell in ("requests/s", "of FastAPI", "p99 ms")]
    lines = ["| server | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for name in names:
        cells = []
        for connections in CONNECTIONS:
            one, other = found[name, connections], found[FASTAPI, connections]
            cells += [f"{one.rate:,.0f}", f"**{one.rate / other.rate:.2f}**", f"{one.p99_ms:.1f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    from evergreen.stages.deploy import stage as deploy

    with ray_project() as root, contextlib.ExitStack() as stack:
        folders = {name: released_model(root / name) for name in ("digits_torch", "digits_onnx")}
        model = folders["digits_torch"]
        add_graph(folders["digits_onnx"])
        released = {name: {"version": "v1.0.0", "path": str(folder)} for name, folder in folders.items()}
        served = deploy.deploy(root, released, DeployConfig())
        row = find_example(served["url"], "digits_torch")
        port = stack.enter_context(plain_server(model))
        urls = {f"evergreen, {name.rpartition('_')[2]}": (served["url"], f"/{name}/predict") for name in folders}
        urls[FASTAPI] = (f"http://127.0.0.1:{port}", "/digits/predict")
        servers = {name: Server.of_url(*where, {"rows": [row]}) for name, where in urls.items()}
        for name, package in PACKAGES.items():
            if python := install(package, root / name):
                request = to_tensors(row) if name == "MLServer" else {"rows": [row]}
                servers[name] = stack.enter_context(running(python, name, model, request))
        levels = niceness([server.port for server in servers.values()])
        if len(levels) > 1:
            raise SystemExit(f"the servers run at several levels of niceness: {levels}")
        found = measure(servers, ROUNDS)
    versions = [f"{one}=={importlib.metadata.version(one)}" for one in ("fastapi", "uvicorn")]
    versions += [package for name, package in PACKAGES.items() if name in servers]
    print(f"One row of `digits`, {ROUNDS} turns, all at niceness {levels.pop()}; {', '.join(versions)}.\n")
    print(report(found, list(servers)))
    if missing := [name for name in PACKAGES if name not in servers]:
        print(f"\nNot installed, since no registry could be reached: {', '.join(missing)}.")


def to_tensors(row: dict[str, list[list[float]]]) -> dict[str, Any]:
    """One row as the Open Inference Protocol has it."""
    shapes = {name: [1, len(values), len(values[0])] for name, values in row.items()}
    return {"inputs": [{"name": n, "shape": shapes[n], "datatype": "FP64", "data": [row[n]]} for n in row]}


if __name__ == "__main__":
    main()
