"""Requests per second of one network by torch and by ONNX Runtime, side by side in one endpoint under uvicorn."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import sized
from benchmarks.bulk import wait_for
from benchmarks.serve import ROOT, Server, find_example, free_port, load, released_model
from evergreen.core.files import read_json, write_json
from evergreen.stages.artifacts import CARD, load_model
from evergreen.stages.deploy.engines import onnx

CONNECTIONS, ROUNDS = sized(((1, 16, 64), 5), ((1, 16), 1))


def add_graph(folder: Path) -> None:
    """Write the graph beside the weights, as a release does."""
    import torch

    model, card = load_model(folder), read_json(folder / CARD)
    rows = model.spec.encode(model.spec.parse_request([model.spec.json_schema()["example"]] * 5, ""), target=False)
    onnx.export(model.network, {name: torch.from_numpy(values) for name, values in rows.items()}, folder / onnx.FILE)
    engine = {"name": "onnx", "hash": onnx.hash_graph((folder / onnx.FILE).read_bytes())}
    write_json(folder / CARD, {**card, "engine": engine}, sort=False)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        port, folders = free_port(), {engine: released_model(Path(name) / engine) for engine in ("torch", "onnx")}
        add_graph(folders["onnx"])
        command = [sys.executable, "-m", "benchmarks.bulk", "serve", str(port), name, *folders]
        server = subprocess.Popen(command, cwd=ROOT)
        try:
            wait_for(port)
            url = f"http://127.0.0.1:{port}"
            rows = {"rows": [find_example(url, "torch")]}
            servers = [Server.of_url(url, f"/{engine}/predict", rows) for engine in folders]
            print("| connections | torch, requests/s | onnx, requests/s | ratio |\n|---:|---:|---:|---:|")
            for connections in CONNECTIONS:
                pairs = [[_measure(server, connections) for server in servers] for _ in range(ROUNDS)]
                torch_rate, onnx_rate = map(statistics.median, zip(*pairs, strict=True))
                ratio = onnx_rate / torch_rate
                print(f"| {connections} | {torch_rate:,.0f} | {onnx_rate:,.0f} | **{ratio:.2f}** |", flush=True)
        finally:
            server.kill()
            server.wait()


def _measure(server: Server, connections: int) -> float:
    return asyncio.run(load(server.port, server.request, connections))[0]


if __name__ == "__main__":
    main()
