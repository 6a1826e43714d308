"""The section `deploy` of a pipeline's YAML: how its released version is served."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from evergreen.core.config import Names, Section, build
from evergreen.core.errors import PipelineError

HOST = r"\[[0-9a-f:.]+\]|[a-z0-9._-]+"  # a name or an address, without a port


class LogConfig(Section):
    """Say what of requests and answers is stored, below .evergreen/requests."""

    sample: float = Field(1.0, ge=0, le=1)
    """Fraction of requests that are logged; 0 logs nothing."""
    days: int = Field(90, ge=1, le=36_500)
    """Days after which the log of a day is removed."""
    max_bytes: int = Field(2**30, ge=1, le=2**50)
    """Bytes of the compacted log of a pipeline; beyond it the oldest days are removed."""
    drop: Names = Field([], max_length=10_000)
    """Fields of a row that are left out of the log."""


class DeployConfig(Section):
    """Say how a pipeline is served. Pipelines share replicas: of `replicas` and `cpus` the largest value counts."""

    replicas: int = Field(1, ge=1, le=1000)
    """Number of processes that answer requests."""
    cpus: float = Field(0.0, ge=0, le=1024)
    """Cores that Ray reserves for each replica; 0 shares them with training on one machine."""
    engine: Literal["auto", "torch", "onnx"] = "auto"
    """What computes the network: ONNX where that was faster at release and answers alike (auto), or always this one."""
    grpc: bool = False
    """Whether the endpoint listens for the Open Inference Protocol over gRPC, too; one pipeline that says so does."""
    traces: str = Field("", pattern=r"^(https?://\S+)?$", examples=["http://127.0.0.1:4318"])
    """Address of a collector of OpenTelemetry that takes OTLP over HTTP, such as http://127.0.0.1:4318; one counts."""
    access_log: bool = False
    """Whether replicas write a line of JSON about each request; one pipeline that says so does for all."""
    abstain: float = Field(0.0, ge=0, lt=1)
    """Probability of the likeliest class below which an answer says that it abstains; 0 says nothing of it."""
    max_batch_rows: int = Field(64, ge=1, le=1_000_000)
    """Largest number of rows in one batch."""
    batch_wait_ms: float = Field(0.0, ge=0, le=60_000)
    """Milliseconds that an idle replica waits for more rows before it starts a batch."""
    max_rows: int = Field(1000, ge=1, le=10_000_000)
    """Largest number of rows in one request."""
    max_body_bytes: int = Field(8 * 2**20, ge=1, le=2**40)
    """Largest request in bytes; a longer one is refused (413)."""
    max_stream_rows: int = Field(10_000_000, ge=1, le=2**40)
    """Largest number of rows in a request that is answered batch by batch: Arrow, Parquet, NDJSON, CSV (422)."""
    max_stream_bytes: int = Field(2**30, ge=1, le=2**50)
    """Largest such request in bytes, unpacked, and largest answer to one; all such requests together as well (413)."""
    max_streams: int = Field(32, ge=1, le=100_000)
    """Largest number of texts that one replica writes at once for clients that read along (429)."""
    max_queue_rows: int = Field(4096, ge=1, le=100_000_000)
    """Largest number of rows that wait in one replica; requests beyond it are refused (429)."""
    max_queue_bytes: int = Field(64 * 2**20, ge=1, le=2**40)
    """Largest number of bytes of all requests under way in one replica; one beyond it is refused unless alone (429)."""
    max_body_seconds: float = Field(60.0, gt=0, le=86_400)
    """Seconds in which the whole body of a request must arrive, or the next part of a table (408)."""
    max_values: int = Field(1_000_000, ge=1, le=2**40)
    """Largest number of values in the JSON of one request, as its commas and opening brackets tell (413)."""
    max_parse_seconds: float = Field(10.0, gt=0, le=86_400)
    """Seconds of the processor that reading one request may take (422)."""
    max_pixels: int = Field(2**24, ge=1, le=2**40)
    """Largest number of pixels of all image files in one request, before they are made smaller (422)."""
    max_samples: int = Field(2**22, ge=1, le=2**40)
    """Largest number of samples of all sounds in one request (422)."""
    max_decoded_bytes: int = Field(256 * 2**20, ge=1, le=2**40)
    """Largest size of the rows of one request as the tensors that the network takes (413)."""
    allowed_hosts: list[str] = Field([], max_length=100)
    """Names under which others reach the endpoint (header Host), beside localhost; of several pipelines all count."""

    log: LogConfig = LogConfig()
    """What of requests and answers is stored."""

    @field_validator("log", mode="before")
    @classmethod
    def _build_log(cls, value: Any) -> Any:
        return build(LogConfig, value, "log") if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> DeployConfig:
        if self.max_queue_rows < self.max_rows:
            raise PipelineError("max_queue_rows is below max_rows", fix="make max_queue_rows at least max_rows")
        for host in self.allowed_hosts:
            if not re.fullmatch(HOST, host, re.IGNORECASE | re.ASCII):
                fix = "give names and addresses without a port: [models.example.org]"
                raise PipelineError(f"allowed_hosts holds {host[:80]!r}", fix=fix)
        return self
