"""Requests per second of the endpoint, Serve and all, against the same model behind plain FastAPI on uvicorn."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from benchmarks import ray_project, sized
from evergreen.stages.deploy.config import DeployConfig

ROOT = Path(__file__).parents[1]
CONNECTIONS = (16, 64)
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
    """The digits model of this clone where there is one, otherwise an untrained network on the same pictures."""
    candidate = ROOT / "models" / "store" / "digits" / "candidate"
    if (candidate / "model.json").exists():
        return candidate
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


def measure(ports: dict[str, int], request: bytes) -> dict[tuple[str, int], tuple[float, list[float]]]:
    """Per opponent and connections: the median rate of the rounds, and all times. The opponents take turns."""
    found: dict[tuple[str, int], list[tuple[float, list[float]]]] = {}
    for port in ports.values():
        asyncio.run(load(port, request, 16))  # warm
    for _ in range(ROUNDS):
        for connections in CONNECTIONS:
            for name, port in ports.items():
                found.setdefault((name, connections), []).append(asyncio.run(load(port, request, connections)))
    return {
        key: (statistics.median(rate for rate, _ in rounds), sorted(one for _, times in rounds for one in times))
        for key, rounds in found.items()
    }


def report(found: dict[tuple[str, int], tuple[float, list[float]]], names: list[str]) -> str:
    """A row per opponent and connections; ratios are ours divided by the opponent's."""
    ours, other = names
    lines = ["| connections | server | requests/s | p50 ms | p99 ms |", "|---:|---|---:|---:|---:|"]
    for connections in CONNECTIONS:
        figures = {}
        for name in names:
            rate, times = found[name, connections]
            p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
            figures[name] = (rate, p50, p99)
            lines.append(f"| {connections} | {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |")
        ratios = [a / b for a, b in zip(figures[ours], figures[other], strict=True)]
        lines.append(f"| {connections} | **ratio** | " + " | ".join(f"**{ratio:.2f}**" for ratio in ratios) + " |")
    return "\n".join(lines)


def main() -> None:
    from evergreen.stages.deploy import stage as deploy

    with ray_project() as root:
        folder = released_model(root / "model")
        port = free_port()
        opponent = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", "plain", str(folder), str(port)], cwd=ROOT
        )
        try:
            served = deploy.deploy(root, {"digits": {"version": "v1.0.0", "path": str(folder)}}, DeployConfig())
            with urllib.request.urlopen(f"{served['url']}/digits") as answer:
                body = json.dumps({"rows": [json.load(answer)["row"]["example"]]}).encode()
            head = "POST /digits/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            names = [f"evergreen (Ray Serve, {served['proxy']})", "FastAPI on uvicorn"]
            ports = dict(zip(names, [int(served["url"].rpartition(":")[2]), port], strict=True))
            found = measure(ports, request)
        finally:
            opponent.kill()
            opponent.wait()
    print(report(found, names))


if __name__ == "__main__":
    plain(sys.argv[2]) if sys.argv[1:2] == ["plain"] else main()
