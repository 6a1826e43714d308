"""ONNX Runtime computes a graph of operators, `model.onnx`: on few rows often several times as fast as torch."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from evergreen.core.errors import PipelineError
from evergreen.models.base import Batch
from evergreen.models.network import Network
from evergreen.stages.artifacts import Model

FILE = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")  # what the extra `onnx` brings
INSTALL = "pip install 'evergreen[onnx]', or say deploy: {engine: auto}"
TALKATIVE = ("torch.onnx", "torch.fx.experimental.symbolic_shapes")  # loggers
SAMPLE_ROWS = 5  # that show the exporter what rows look like


class OnnxNetwork(Network):
    """Compute the outputs of a network from its graph; all else is the network's own."""

    def __init__(self, network: Network, graph: bytes) -> None:
        import onnxruntime

        super().__init__(network.architecture, network.task)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # as torch's in a replica
        options.log_severity_level = 3  # errors alone
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.names = [one.name for one in self.session.get_inputs()]
        self.eval()

    def forward(self, batch: Batch) -> Tensor:
        """Return the head's output."""
        (output,) = self.session.run(None, {name: batch[name].numpy() for name in self.names})
        return torch.from_numpy(output)


def is_installed() -> bool:
    """Tell whether the extra is there."""
    return all(importlib.util.find_spec(name) for name in NEEDED)


def hash_graph(graph: bytes) -> str:
    """Return what the card holds of a graph."""
    return hashlib.blake2b(graph, digest_size=16).hexdigest()


def load(folder: Path, model: Model) -> Network:
    """Return the network in ONNX Runtime. Raises PipelineError without a graph, or without the extra."""
    engine, path = model.card.get("engine", {}), folder / FILE
    if not path.is_file():
        fix = "say deploy: {engine: auto}, or release a candidate trained anew"
        raise PipelineError(f"it was released without {FILE}", place=str(folder), fix=fix)
    if not is_installed():
        raise PipelineError("ONNX Runtime is not installed", place="deploy.engine", fix=INSTALL)
    graph = path.read_bytes()
    if hash_graph(graph) != engine.get("hash"):
        raise PipelineError("is not the file that was released", place=str(path), fix="fetch the release again")
    return OnnxNetwork(model.network, graph)


def export(network: Network, rows: Batch, path: Path) -> None:
    """Write the graph of a network in evaluation mode, for any number of rows like these. Raises what torch raises."""
    sample = {name: column[:SAMPLE_ROWS] for name, column in rows.items()}
    any_number = torch.export.Dim("rows")
    with _quiet():
        torch.onnx.export(
            network,
            f=path,
            kwargs={"batch": sample},
            input_names=[*sample],
            output_names=["output"],
            dynamic_shapes={"batch": {name: {0: any_number} for name in sample}},
            external_data=False,
            verbose=False,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let torch write nothing about what it exports, and take no fused operator, of which ONNX has none."""
    is_fused, loggers = torch.backends.mha.get_fastpath_enabled(), list(map(logging.getLogger, TALKATIVE))
    levels = [one.level for one in loggers]
    torch.backends.mha.set_fastpath_enabled(False)
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
