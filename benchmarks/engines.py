"""Requests per second of one network by torch and by ONNX Runtime, side by side in one endpoint under uvicorn."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from benchmarks import sized
from benchmarks.bulk import wait_for
from benchmarks.serve import ROOT, free_port, load, released_model
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
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/torch") as answer:
                body = json.dumps({"rows": [json.load(answer)["row"]["example"]]}).encode()
            print("| connections | torch, requests/s | onnx, requests/s | ratio |\n|---:|---:|---:|---:|")
            for connections in CONNECTIONS:
                pairs = [[_measure(port, engine, body, connections) for engine in folders] for _ in range(ROUNDS)]
                torch_rate, onnx_rate = map(statistics.median, zip(*pairs, strict=True))
                ratio = onnx_rate / torch_rate
                print(f"| {connections} | {torch_rate:,.0f} | {onnx_rate:,.0f} | **{ratio:.2f}** |", flush=True)
        finally:
            server.kill()
            server.wait()


def _measure(port: int, engine: str, body: bytes, connections: int) -> float:
    head = f"POST /{engine}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return asyncio.run(load(port, request, connections))[0]


if __name__ == "__main__":
    main()
