"""The section `deploy` of a pipeline's YAML."""

from __future__ import annotations

from dataclasses import dataclass, fields

from evergreen.core.errors import PipelineError


@dataclass(frozen=True)
class DeployConfig:
    """How a pipeline is served. All pipelines share the replicas: of `replicas` and `cpus` the largest value counts."""

    replicas: int = 1  # processes that answer
    cpus: float = 0.0  # cores that Ray sets aside for each replica; 0 shares them with training, for one machine
    max_batch_rows: int = 64  # rows in one pass through the network
    batch_wait_ms: float = 0.0  # wait for company when idle; rows that come while a batch runs gather in any case
    max_rows: int = 1000  # rows in one request
    max_body_bytes: int = 8 * 2**20  # a longer request is refused (413)
    max_queue_rows: int = 4096  # rows that wait in one replica; requests beyond them are refused (429)

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("cpus", "batch_wait_ms") else 1
            if value < least:
                raise PipelineError(f"{field.name} is {value}", fix=f"give at least {least}")
        if self.max_queue_rows < self.max_rows:
            raise PipelineError("max_queue_rows is below max_rows", fix="let a whole request fit into the queue")
