"""Decide once, at release, which engine serves a candidate, and make the folder that it is served from.

`served/` is the candidate with `model.onnx` beside the weights. The graph has to answer validation rows as torch does,
within the task's tolerance; by default it serves where it is faster as well, alone and in a batch. Seconds are the
processor's, the least of several, so that a busy machine decides as an idle one does.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import PipelineError
from evergreen.core.files import atomic_directory, read_json, write_json
from evergreen.core.paths import Paths
from evergreen.stages.artifacts import CARD, MISFITS, load_model
from evergreen.stages.deploy.config import DeployConfig

if TYPE_CHECKING:
    from evergreen.models.base import Batch
    from evergreen.models.network import Network

MAX_ROWS = 2000  # of validation that are answered by both
BATCHES = (1, 2, 64)  # rows of the batches that are compared; the first and the last are timed
ROUNDS, MIN_SPEEDUP = 30, 1.1


def choose_engine(config: DeployConfig, paths: Paths) -> tuple[str, bool]:
    """Return the engine and why in words, and whether `served/` was written; "" where there is nothing to choose.

    Raises PipelineError where the YAML says onnx and that cannot be.
    """
    from evergreen.stages.deploy.engines import AUTO, onnx

    if config.engine == "torch" or (config.engine == AUTO and not onnx.is_installed()):
        return "", False
    if not onnx.is_installed():
        raise PipelineError("ONNX Runtime is not installed", place="deploy.engine", fix=onnx.INSTALL)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / onnx.FILE
        engine = _export(paths, graph)
        if is_right := "hash" in engine:
            with atomic_directory(paths.served) as new:
                shutil.copytree(paths.candidate, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".gitignore"))
                shutil.copyfile(graph, new / onnx.FILE)
                write_json(new / CARD, {**read_json(new / CARD), "engine": engine}, sort=False)
    if not is_right and config.engine != AUTO:
        fix = "say deploy: {engine: auto}, and torch serves it"
        raise PipelineError(f"ONNX cannot serve the candidate: {engine['why']}", place="deploy.engine", fix=fix)
    return f"{engine['name']}, {engine['why']}", is_right


def _export(paths: Paths, file: Path) -> dict[str, Any]:
    """Write the graph of the candidate; return engine, why, and the hash of a graph that is right, for the card."""
    import torch

    from evergreen.data.feed.batches import load_encoded_split
    from evergreen.stages.deploy.engines import onnx

    network = load_model(paths.candidate).network
    arrays = load_encoded_split(paths.ready, "validation", MAX_ROWS)
    rows = {name: torch.as_tensor(array) for name, array in arrays.items() if name != "target"}
    try:
        onnx.export(network, rows, file)
        graph = file.read_bytes()
        other = onnx.OnnxNetwork(network, graph)
        difference = find_difference(network, other, rows)
    except MISFITS as error:
        return {"name": "torch", "why": f"it cannot be exported to ONNX ({_find_cause(error)})"}
    n_rows, most = len(next(iter(rows.values()))), network.task.TOLERANCE
    if not difference <= most:
        why = f"the graph of ONNX answers {n_rows:,} validation rows otherwise by up to {difference:.1g}"
        return {"name": "torch", "why": f"{why}, {most:g} may be"}
    speedups = [_time(network, other, rows, n_together) for n_together in (BATCHES[0], BATCHES[-1])]
    times = "{:.1f} times as fast as torch on one row, {:.1f} on {}".format(*speedups, BATCHES[-1])
    same = f"{n_rows:,} validation rows answered alike within {difference:.1g}"
    name, why = ("onnx", times) if min(speedups) >= MIN_SPEEDUP else ("torch", f"ONNX is {times}")
    return {"name": name, "why": f"{why}; {same}", "hash": onnx.hash_graph(graph)}


def _find_cause(error: BaseException) -> str:
    """Return the first sentence of what went wrong at first: the exporter wraps it in advice."""
    while error.__cause__:
        error = error.__cause__
    return f"{' '.join(str(error).split()):.150}".partition(". ")[0]


def find_difference(network: Network, other: Network, rows: Batch) -> float:
    """Return the largest difference of the outputs, of those above 1 as a share; each row counts in every batch size.

    It is infinite where one is a number and the other none.
    """
    differences = []
    for n_together in BATCHES:
        few = {name: column[: MAX_ROWS if n_together > 1 else BATCHES[-1]] for name, column in rows.items()}
        for batch in _split(few, n_together):
            wanted, got = network.predict_outputs(batch), other.predict_outputs(batch)
            if wanted.shape != got.shape or not bool((wanted.isnan() == got.isnan()).all()):
                return float("inf")
            gap = ((wanted - got).abs() / wanted.abs().clamp_min(1)).nan_to_num(0.0)
            differences.append(float(gap.max()))
    return max(differences)


def _split(rows: Batch, n_rows: int) -> Sequence[Batch]:
    columns = [column.split(n_rows) for column in rows.values()]
    return [dict(zip(rows, batch, strict=True)) for batch in zip(*columns, strict=True)]


def _time(network: Network, other: Network, rows: Batch, n_rows: int) -> float:
    """Return how many times as fast the other network answers a batch."""
    import torch

    batch = {name: column[:n_rows] for name, column in rows.items()}
    seconds: dict[Network, float] = dict.fromkeys((network, other), float("inf"))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a replica
    try:
        with torch.inference_mode():
            for one in (network, other) * ROUNDS:
                start = time.thread_time()
                one.predict(batch)
                seconds[one] = min(seconds[one], time.thread_time() - start)
    finally:
        torch.set_num_threads(n_threads)
    return seconds[network] / max(seconds[other], 1e-9)
