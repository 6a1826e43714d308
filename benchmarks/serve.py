"""Requests per second of the endpoint, Serve and all, against the same model behind plain FastAPI on uvicorn."""

import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ray_project, sized
from evergreen.stages.deploy.config import DeployConfig, LogConfig

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 16, 64)
ROUNDS, SECONDS = sized((5, 2.0), (1, 0.5))  # each pair of measurements is taken this often, each this long


def plain(folder: str) -> None:
    """The opponent: one process, FastAPI on uvicorn, the same model and the same work for each row, one at a time."""
    import torch
    import uvicorn
    from fastapi import FastAPI

    from evergreen.stages.artifacts import load_model

    torch.set_num_threads(1)
    model, app = load_model(Path(folder)), FastAPI()

    @app.post("/digits/predict")
    async def predict(body: dict) -> dict:
        return {"predictions": model.predict(model.spec.parse_request(body["rows"], "rows"))}

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error", access_log=False)


async def load(port: int, request: bytes, connections: int) -> tuple[float, list[float]]:
    """Requests per second and the seconds that each took, from clients that ask again once they are answered."""
    times: list[float] = []
    stop = time.perf_counter() + SECONDS

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < stop:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"refused: {head.decode()}")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - start)
            if b"connection: close" in head.lower():
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return len(times) / SECONDS, times


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def released_model(folder: Path) -> Path:
    """Write the digits model of this clone where there is one, otherwise an untrained network on the same pictures."""
    candidate = ROOT / "models" / "store" / "digits" / "candidate"
    if (candidate / "model.json").exists():
        return Path(shutil.copytree(candidate, folder))
    import pyarrow as pa
    from sklearn.datasets import load_digits

    from evergreen.data import kinds
    from evergreen.data.fitting import fit
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import build
    from evergreen.stages.artifacts import save_model

    digits = load_digits()
    image = kinds.find("image").validate(pa.FixedShapeTensorArray.from_numpy_ndarray(digits.images))[0]
    digit = kinds.find("category").validate(pa.array(digits.target))[0]
    inputs, target = fit(pa.table({"image": image, "digit": digit}), {"image": "image"}, "digit", "category")
    spec = FeatureSpec("classification", inputs, target, "digit", None, {"train": len(digit)})
    network = build("cnn", spec.task, spec.inputs, spec.target)
    save_model(folder, network, {"architecture": "cnn", "task": spec.task, "options": {}, "spec": spec.to_json()})
    return folder


@dataclass(frozen=True)
class Server:
    """One that is measured: where it listens, and the whole request that it is sent."""

    port: int
    request: bytes

    @classmethod
    def of_url(cls, url: str, path: str, value: Any) -> "Server":
        host, _, port = url.rpartition("/")[2].partition(":")
        body = json.dumps(value).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        return cls(int(port), f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@dataclass(frozen=True)
class Figures:
    """What was measured: requests per second, and milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


def measure(servers: dict[str, Server], rounds: int = ROUNDS) -> dict[tuple[str, int], Figures]:
    """Per server and connections: the median rate of the rounds, of all times the quantiles. The servers take turns."""
    found: dict[tuple[str, int], list[tuple[float, list[float]]]] = {}
    for server in servers.values():
        asyncio.run(load(server.port, server.request, 16))  # warm
    for _ in range(rounds):
        for connections in CONNECTIONS:
            for name, server in servers.items():
                taken = asyncio.run(load(server.port, server.request, connections))
                found.setdefault((name, connections), []).append(taken)
    figures = {}
    for key, taken_in_turn in found.items():
        times = sorted(seconds for _, some in taken_in_turn for seconds in some)
        p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
        figures[key] = Figures(statistics.median(rate for rate, _ in taken_in_turn), p50, p99)
    return figures


def report(found: dict[tuple[str, int], Figures], names: list[str]) -> str:
    """A row per server and connections; ratios are the first one's divided by that of each of the others."""
    lines = ["| connections | server | requests/s | p50 ms | p99 ms |", "|---:|---|---:|---:|---:|"]
    for connections in CONNECTIONS:
        figures = [found[name, connections] for name in names]
        for name, one in zip(names, figures, strict=True):
            lines.append(f"| {connections} | {name} | {one.rate:,.0f} | {one.p50_ms:.1f} | {one.p99_ms:.1f} |")
        ours, *others = figures
        for name, other in zip(names[1:], others, strict=True):
            ratios = (ours.rate / other.rate, ours.p50_ms / other.p50_ms, ours.p99_ms / other.p99_ms)
            cells = " | ".join(f"**{ratio:.2f}**" for ratio in ratios)
            lines.append(f"| {connections} | **ratio to {name}** | {cells} |")
    return "\n".join(lines)


@contextlib.contextmanager
def plain_server(folder: Path) -> Iterator[int]:
    """The port of the opponent while it runs."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", "plain", str(folder), str(port)], cwd=ROOT)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def find_example(url: str, name: str) -> Any:
    """The row that the endpoint shows."""
    with urllib.request.urlopen(f"{url}/{name}") as answer:
        return json.load(answer)["row"]["example"]


def main() -> None:
    from evergreen.stages.deploy import stage as deploy

    with ray_project() as root:
        folder = released_model(root / "model")
        with plain_server(folder) as port:
            version, unlogged = {"version": "v1.0.0", "path": str(folder)}, DeployConfig(log=LogConfig(sample=0))
            settings = {"digits": DeployConfig(), "unlogged": unlogged}
            served = deploy.deploy(root, dict.fromkeys(settings, version), settings)
            rows = {"rows": [find_example(served["url"], "digits")]}
            names = [
                f"evergreen (Ray Serve, {served['proxy']})",
                "the same without the request log",
                "FastAPI on uvicorn",
            ]
            places = [(served["url"], one) for one in settings] + [(f"http://127.0.0.1:{port}", "digits")]
            servers = [Server.of_url(url, f"/{pipeline}/predict", rows) for url, pipeline in places]
            found = measure(dict(zip(names, servers, strict=True)))
    print(report(found, names))


if __name__ == "__main__":
    plain(sys.argv[2]) if sys.argv[1:2] == ["plain"] else main()
