"""Rows per second of whole tables sent to the endpoint, against a bare loop that encodes and forwards the same batches.

The endpoint is one process under uvicorn, with its checks, its log and its limits; the loop reads the same rows from
memory. Both take turns, on one thread of torch each.
"""

import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks import sized
from benchmarks.serve import ROOT, free_port
from evergreen.stages.artifacts import load_model
from evergreen.stages.deploy.formats import BATCH_ROWS

N_ROWS, N_LINES, ROUNDS = sized((1_000_000, 100_000, 3), (4_000, 1_000, 1))  # of columns, of text
SETTINGS = {"max_stream_rows": 2 * N_ROWS}


def serve(port: int, root: Path, names: list[str]) -> None:
    """The endpoint alone, as a replica runs it, with the models that lie in folders of these names."""
    import asyncio

    import uvicorn

    from evergreen.stages.deploy.endpoint import Endpoint

    entries = {name: {"version": "v1.0.0", "path": str(root / name), "limits": SETTINGS} for name in names}
    home, endpoint = str(root / ".evergreen" / "requests"), Endpoint()
    asyncio.run(endpoint.reconfigure({"revision": "1", "hosts": [], "home": home, "pipelines": entries}))
    app = endpoint.__serve_build_asgi_app__()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def make_model(folder: Path) -> pa.Table:
    """Store an untrained network for breast_cancer; return its rows."""
    from sklearn.datasets import load_breast_cancer

    from evergreen.data import kinds
    from evergreen.data.fitting import fit
    from evergreen.data.spec import FeatureSpec
    from evergreen.models.registry import build
    from evergreen.stages.artifacts import save_model

    data = load_breast_cancer(as_frame=True)
    rows = pa.table({name: pa.array(column) for name, column in data.data.items()})
    diagnosis = kinds.find("category").validate(pa.array(data.target_names[data.target]))[0]
    inputs, target = fit(rows.append_column("y", diagnosis), dict.fromkeys(data.data, "number"), "y", "category")
    spec = FeatureSpec("classification", inputs, target, "y", None, {"train": len(diagnosis)})
    network = build("mlp", spec.task, spec.inputs, spec.target)
    save_model(folder, network, {"architecture": "mlp", "task": spec.task, "options": {}, "spec": spec.to_json()})
    return rows


def loop(folder: Path, rows: pa.Table) -> float:
    """Return the rows per second of the loop."""
    import torch

    torch.set_num_threads(1)
    model, start = load_model(folder), time.perf_counter()
    with torch.inference_mode():
        for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
            arrays = model.spec.encode(pa.Table.from_batches([batch]), target=False)
            model.network({name: torch.as_tensor(array) for name, array in arrays.items()})
    return len(rows) / (time.perf_counter() - start)


def ask(port: int, body: bytes, content_type: str, n_rows: int) -> float:
    """Return the rows per second of one request."""
    start, client = time.perf_counter(), http.client.HTTPConnection("127.0.0.1", port)
    client.request("POST", "/rows/predict", body, {"Content-Type": content_type})
    with client.getresponse() as answer:
        size = len(answer.read())
    if answer.status != 200 or not size:
        raise SystemExit(f"refused: {answer.status}")
    return n_rows / (time.perf_counter() - start)


def write_stream(rows: pa.Table, file: io.BytesIO) -> None:
    with pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=64 * BATCH_ROWS)


def write_lines(rows: pa.Table, file: io.BytesIO) -> None:
    file.write("".join(json.dumps(row) + "\n" for row in rows.to_pylist()).encode())


FORMATS: dict[str, tuple[int, Callable[[pa.Table, io.BytesIO], None]]] = {
    "application/vnd.apache.arrow.stream": (N_ROWS, write_stream),
    "application/vnd.apache.parquet": (N_ROWS, pq.write_table),
    "text/csv": (N_LINES, pyarrow.csv.write_csv),
    "application/x-ndjson": (N_LINES, write_lines),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, port = Path(name), free_port()
        some = make_model(folder / "rows")
        rows = some.take(pa.array(np.random.default_rng(0).integers(0, len(some), N_ROWS)))
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.bulk", "serve", str(port), name, "rows"], cwd=ROOT)
        try:
            print("| body | rows | rows/s, bare loop | rows/s, endpoint | ratio |\n|---|---:|---:|---:|---:|")
            for content_type, (n_rows, write) in FORMATS.items():
                file, sent = io.BytesIO(), rows.slice(0, n_rows).combine_chunks()
                write(sent, file)
                wait_for(port)
                pairs = [
                    (loop(folder / "rows", sent), ask(port, file.getvalue(), content_type, n_rows))
                    for _ in range(ROUNDS)
                ]
                bare, ours = map(statistics.median, zip(*pairs, strict=True))
                print(
                    f"| {content_type} | {n_rows:,} | {bare:,.0f} | {ours:,.0f} | **{ours / bare:.2f}** |", flush=True
                )
        finally:
            server.kill()
            server.wait()


def wait_for(port: int) -> None:
    """Return when a server listens."""
    for _ in range(600):
        try:
            http.client.HTTPConnection("127.0.0.1", port).connect()
            return
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    serve(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]) if sys.argv[1:2] == ["serve"] else main()
