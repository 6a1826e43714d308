"""The section `deploy` of a pipeline's YAML: how its released version is served."""

from __future__ import annotations

from pydantic import Field, model_validator

from evergreen.core.config import Section
from evergreen.core.errors import PipelineError


class DeployConfig(Section):
    """Say how a pipeline is served. Pipelines share replicas: of `replicas` and `cpus` the largest value counts."""

    replicas: int = Field(1, ge=1, le=1000)
    """Number of processes that answer requests."""
    cpus: float = Field(0.0, ge=0, le=1024)
    """Cores that Ray reserves for each replica; 0 shares them with training on one machine."""
    max_batch_rows: int = Field(64, ge=1, le=1_000_000)
    """Largest number of rows in one batch."""
    batch_wait_ms: float = Field(0.0, ge=0, le=60_000)
    """Milliseconds that an idle replica waits for more rows before it starts a batch."""
    max_rows: int = Field(1000, ge=1, le=10_000_000)
    """Largest number of rows in one request."""
    max_body_bytes: int = Field(8 * 2**20, ge=1, le=2**40)
    """Largest request in bytes; a longer one is refused (413)."""
    max_queue_rows: int = Field(4096, ge=1, le=100_000_000)
    """Largest number of rows that wait in one replica; requests beyond it are refused (429)."""

    @model_validator(mode="after")
    def _check(self) -> DeployConfig:
        if self.max_queue_rows < self.max_rows:
            raise PipelineError("max_queue_rows is below max_rows", fix="let a whole request fit into the queue")
        return self
